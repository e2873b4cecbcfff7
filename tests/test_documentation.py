"""What the documentation shows runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from coreml_assay.accuracy.own import own_case
from coreml_assay.conformance.registry import load_clauses
from coreml_assay.conformance.runner import pytest_arguments
from coreml_assay.mil.program import save_package
from coreml_assay.mil.samples import single
from coreml_assay.records import CheckResult, Outcome

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def checks_of_example(folder, name, *options):
    """The results of running the suite over an implementation of docs/implementations.md."""
    for code in blocks(ROOT / "docs/implementations.md", "python"):
        if file := re.match(r"# (\w+\.py)\n", code):
            (folder / file[1]).write_text(code)
    results = folder / "results.jsonl"
    subprocess.run(
        [*(sys.executable, "-m", "pytest"), *pytest_arguments(name, 0, "quick", results), *options],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        check=False,
    )
    lines = results.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=CheckResult) for line in lines]


def test_the_example_implementation_runs_through_the_suite(tmp_path):
    checks = checks_of_example(tmp_path, "my_quantizer:Mine")
    failed = {check.check for check in checks if check.outcome is Outcome.FAIL}
    outcomes = {check.outcome for check in checks}
    # Its arithmetic is as narrow as the weight's dtype, and the suite says so; nothing else.
    assert {name.split("[")[0].split("::")[1] for name in failed} == {
        "test_any_float16_magnitude_is_representable",
        "test_any_float32_magnitude_is_representable",
    }
    assert Outcome.PASS in outcomes
    assert Outcome.UNSUPPORTED in outcomes


def test_the_example_of_gptq_meets_its_theorems(tmp_path):
    clauses = [f"--clause=G.{number}" for number in (5, 7, 8, 9, 10, 11, 13)]
    checks = checks_of_example(tmp_path, "my_gptq:Calibrated", *clauses)
    assert {check.outcome for check in checks} == {Outcome.PASS, Outcome.UNSUPPORTED}
    passed = {check.check.split("[")[0] for check in checks if check.outcome is Outcome.PASS}
    assert len([check for check in passed if "test_gptq_theorems.py" in check]) == 7


def test_the_examples_of_the_reference_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weight = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(32, 32)
    save_package(single(weight, "linear"), tmp_path / "my_model.mlpackage")
    names = {}
    for code in blocks(ROOT / "docs/reference.md", "python"):
        exec(compile(code, "docs/reference.md", "exec"), names)
    assert "1 of 2 weights compressed" in capsys.readouterr().out
    assert set(names["outputs"]) == {"w_out"}
    assert list(names["quantizer"].report()) == ["0.weight"]
    assert list(names["compressor"].report()) == ["0.weight", "2.weight"]


@pytest.mark.filterwarnings("ignore")
def test_the_example_of_ones_own_data_is_data_that_the_command_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weight = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(32, 32)
    save_package(single(weight, "linear"), tmp_path / "my_model.mlpackage")
    (code,) = blocks(ROOT / "docs/accuracy.md", "python")
    exec(compile(code, "docs/accuracy.md", "exec"), {})
    case = own_case(Path("my_model.mlpackage"), Path("data.npz"), None)
    assert len(case.samples) == 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_fits_one_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def test_clauses_quoted_in_the_documentation_are_the_clauses():
    text = " ".join((ROOT / "docs/architecture.md").read_text().split())
    clause = next(clause for clause in load_clauses() if clause.id == "W.4")
    assert clause.text.split(";")[0] in text


def test_commands_that_the_documentation_names_exist():
    from coreml_assay.cli import main

    for page in PAGES:
        for command in re.findall(r"(?:`|\$ )coreml-assay (\w+)", page.read_text()):
            assert command in main.commands, f"{page.name}: {command}"
