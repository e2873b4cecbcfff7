"""What a run shows fits 80 columns, in a terminal and in a log, and ends with the verdict."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from coreml_assay.gate import judge
from coreml_assay.records import (
    Agreement,
    CheckResult,
    Environment,
    ModelRun,
    NotRun,
    Outcome,
    Record,
    SuiteRun,
)
from coreml_assay.terminal import show_verdict, stage_progress


def console(*, terminal=False):
    return Console(file=io.StringIO(), width=80, force_terminal=terminal, highlight=False)


def model(implementation, **fields):
    return ModelRun(
        model="basic-pitch 0.4.0",
        model_sha256="0" * 64,
        configuration="int4 per channel",
        target="iOS18",
        implementation=implementation,
        version="9.0",
        reloads=True,
        **fields,
    )


def record(outcome, *models):
    check = CheckResult(
        check="properties/test_codes.py::test_halves_go_to_even[int8-symmetric]",
        kind="property",
        clauses=("Q.2",),
        outcome=outcome,
        detail="mine 1.0 violates Q.2: the code of a weight halfway differs [red]x[/red]\nmore",
        deviation="narrow" if outcome is Outcome.DEVIATION else None,
    )
    return Record(
        tool_version="0",
        created="2026",
        seed=1,
        profile="quick",
        environment=Environment(python="3", platform="p", machine="m", cpu_count=1, packages={}),
        suites=(
            SuiteRun(implementation="mine", version="1.0", checks_expected=1, checks=(check,)),
        ),
        agreements=(
            Agreement(
                implementation="reference",
                version="0.1.0",
                against="coremltools",
                against_version="9.0",
                seed=1,
                cases=5200,
                equal=5165,
                deviating={"narrow-float16-arithmetic": 35},
            ),
        ),
        models=models,
    )


def shown(found):
    target = console()
    show_verdict(target, found, judge(found, None), None)
    return target.file.getvalue().splitlines()


FIGURES = {
    "compressed": ("a", "b"),
    "skipped": {"c": "small"},
    "float_bytes": 100,
    "bytes": 50,
    "weight_snr_db": 38.25,
    "worst_error_in_steps": 0.5,
    "program_sha256": "1",
}


def test_it_fits_80_columns_and_ends_with_the_verdict():
    both = [model("reference", **FIGURES), model("coremltools", **FIGURES)]
    lines = shown(record(Outcome.PASS, *both))
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Pass: nothing speaks against this record"


def test_equal_programs_share_a_row():
    both = [model("reference", **FIGURES), model("coremltools", **FIGURES)]
    rows = [line.split() for line in shown(record(Outcome.PASS, *both)) if "int4" in line]
    cells = "basic-pitch 0.4.0 int4 per channel all equal 2 of 3 50% 38.2 0.500"
    assert [" ".join(row) for row in rows] == [cells]


def test_programs_that_differ_have_a_row_each():
    other = model("coremltools", **{**FIGURES, "program_sha256": "2"})
    lines = shown(record(Outcome.PASS, model("reference", **FIGURES), other))
    assert len([line for line in lines if "int4" in line]) == 2


def test_what_was_not_measured_says_so_and_has_no_figure():
    nothing = {**FIGURES, "weight_snr_db": None, "worst_error_in_steps": None}
    (row,) = [x for x in shown(record(Outcome.PASS, model("mine", **nothing))) if "int4" in x]
    assert "not" in row
    assert "0.0" not in row


def test_a_failure_is_one_sentence_taken_literally():
    text = " ".join(shown(record(Outcome.FAIL)))
    assert "mine 1.0 violates Q.2: the code of a weight halfway differs [red]x[/red]" in text
    assert text.endswith("Regression: 1 reason")


def test_what_could_not_be_run_is_said_once_and_fits():
    missing = (
        NotRun(implementation="x", areas=(), state="not installed", detail="install x"),
        NotRun(implementation="y", areas=("gptq",), state="failed", detail="it says " + "no " * 40),
    )
    lines = shown(msgspec.structs.replace(record(Outcome.PASS), not_run=missing))
    text = " ".join(" ".join(lines).split())
    assert text.count("x is not installed: install x") == 1
    assert text.count("The areas gptq could not be run on y") == 1
    assert max(map(len, lines)) <= 80


def test_deviations_are_counted():
    text = " ".join(shown(record(Outcome.DEVIATION)))
    assert "1 known deviation of mine 1.0, in 1 check" in text


def test_a_log_file_has_a_line_for_each_quarter_of_a_stage():
    log = console()
    with stage_progress(log) as told:
        for done in range(101):
            told("suite on mine", done, 100)
    lines = log.file.getvalue().splitlines()
    assert lines == [f"suite on mine: {done} of 100" for done in (25, 50, 75, 100)]


@pytest.mark.parametrize("colour", [True, False])
def test_no_color_is_honoured(monkeypatch, colour):
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    target = console(terminal=True)
    found = record(Outcome.PASS)
    show_verdict(target, found, judge(found, None), None)
    assert ("\x1b[1;32m" in target.file.getvalue()) is colour
