"""Workflows and the action call the command line as it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import pytest

from coreml_assay.cli import main

ROOT = Path(__file__).parents[1]
ACTION = msgspec.yaml.decode((ROOT / "action.yml").read_bytes())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _steps(workflow):
    found = msgspec.yaml.decode(workflow.read_bytes())
    return [step for job in found["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_exist(workflow):
    lines = "\n".join(step.get("run", "") for step in _steps(workflow)).splitlines()
    for line in lines:
        if line.startswith("coreml-assay "):
            assert shlex.split(line)[1] in main.commands


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_the_action_is_given_what_it_takes(workflow):
    for step in _steps(workflow):
        if step.get("uses") == "./":
            assert set(step["with"]) <= set(ACTION["inputs"])


def test_the_action_passes_on_each_of_its_inputs():
    variables = ACTION["runs"]["steps"][-1]["env"].values()
    assert set(variables) == {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]}
    options = {option for each in main.commands["run"].params for option in each.opts}
    script = ACTION["runs"]["steps"][-1]["run"]
    assert {"-o", "-i", "-b", "--seed"} <= options
    assert 'arguments+=(--seed "$SEED")' in script


def test_each_night_has_a_seed_of_its_own():
    nightly = next(path for path in WORKFLOWS if path.stem == "nightly")
    choose = next(step for step in _steps(nightly) if step.get("id") == "choose")
    assert "date -u +%Y%m%d" in choose["run"]
    assert "::notice title=Seed::$seed" in choose["run"]
