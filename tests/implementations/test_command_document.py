"""docs/command-protocol.md says what is true, and its examples run."""

from __future__ import annotations

import json
import os
import re
import subprocess

import msgspec
import pytest
from click.testing import CliRunner
from command_programs import COMPILER, ROOT
from test_command_faults import FAULTS

from coreml_assay.cli import main
from coreml_assay.implementations import load_implementation
from coreml_assay.implementations.case_folders import (
    PROTOCOL,
    Case,
    Description,
    Result,
    quantize_weight_case,
)
from coreml_assay.implementations.command import MOST_HANGS, Options
from coreml_assay.implementations.protocol import WeightSpec
from coreml_assay.numerics import Grid

PAGE = (ROOT / "docs/command-protocol.md").read_text()


def test_the_examples_in_json_are_valid_and_complete():
    case, result, description = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    grid = Grid(4, signed=False, symmetric=True)
    assert msgspec.json.decode(case, type=Case) == quantize_weight_case(WeightSpec(grid, (1, 0)))
    assert msgspec.json.decode(result, type=Result).status == "ok"
    assert msgspec.json.decode(description, type=Description).name == "plain-c"
    assert f"This is protocol {PROTOCOL};" in PAGE


@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc) to build the example with")
def test_the_example_is_built_by_the_line_that_the_page_and_the_source_give(tmp_path, monkeypatch):
    (line,) = re.findall(r"\$ (cc .*)", PAGE)
    source = (ROOT / "docs/examples/plain_c.c").read_text()
    assert line.replace("docs/examples/", "") in source
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    subprocess.run(line.split(), check=True)
    assert load_implementation("command:./plain_c").name == "plain-c"


def test_defaults_are_those_of_the_page(monkeypatch):
    for name in [name for name in os.environ if name.startswith("COREML_ASSAY_COMMAND_")]:
        monkeypatch.delenv(name)
    options = Options.from_environment()
    assert f"`COREML_ASSAY_COMMAND_SECONDS` | {options.seconds:g} |" in PAGE
    assert f"`COREML_ASSAY_COMMAND_MEMORY` | {options.memory_mib} |" in PAGE
    assert "`COREML_ASSAY_COMMAND_CASES` | |" in PAGE
    assert options.cases is None
    assert f"after {MOST_HANGS} of these it is not started again" in PAGE


def test_messages_of_the_page_are_those_that_tests_see():
    section = PAGE.partition("## What a program cannot do")[2].partition("Each is the failure")[0]
    quoted = re.findall(r"`([^`]+)`", section)
    seen = " ".join(said for _, said in FAULTS.values())
    for message in quoted:
        if "30 s" in message or "4096 MiB" in message:
            continue  # the tests of these have limits of their own
        assert message.removesuffix("...").rstrip() in seen or message == "exit code 3"


@pytest.mark.parametrize(
    ("kind", "required"),
    [
        ("record", "tool_version"),
        ("case", "block_shape"),
        ("result", "status"),
        ("description", "verbs"),
    ],
)
def test_schemas(kind, required):
    found = CliRunner().invoke(main, ["schema", kind])
    assert found.exit_code == 0
    definitions = json.loads(found.stdout)["$defs"].values()
    assert any(required in definition.get("required", []) for definition in definitions)


def test_the_schema_of_a_record_is_the_default():
    default, named = (CliRunner().invoke(main, ["schema", *kind]) for kind in ([], ["record"]))
    assert default.stdout == named.stdout
