"""The suite refuses each wrong implementation, by the clause that it violates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from coreml_assay.records import CheckResult, Outcome
from mutants import gptq, weights

MUTANTS = [*weights.MUTANTS, *gptq.MUTANTS]

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore"}


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """Each mutant's first failing check, all run in one process by tests/mutants/__main__.py."""
    results = tmp_path_factory.mktemp("mutants")
    done = subprocess.run(
        [sys.executable, "-m", "mutants", str(results)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for file in results.glob("*.jsonl"):
        lines = file.read_bytes().splitlines()
        found[file.stem] = [msgspec.json.decode(line, type=CheckResult) for line in lines]
    return found


@pytest.mark.xdist_group("mutants")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_wrong_implementation_fails_its_clause(mutant, failures):
    failed = [check for check in failures[mutant.__name__] if check.outcome is Outcome.FAIL]
    assert failed, f"{mutant.__name__} passes every check of {mutant.violates}"
    for check in failed:
        assert mutant.violates in check.clauses
        assert " violates " in check.detail.splitlines()[0], check.detail
        assert "TypeError" not in check.detail, "the fault does not fit what it replaces"


@pytest.mark.xdist_group("mutants")
def test_the_reference_passes_where_the_mutants_fail(failures):
    assert {check.outcome for check in failures["reference"]} == {Outcome.PASS}
    passed = {clause for check in failures["reference"] for clause in check.clauses}
    assert {mutant.violates for mutant in MUTANTS} <= passed


@pytest.mark.xdist_group("mutants")
@pytest.mark.parametrize("mutant", ["Truncates", "BlocksTwiceAsLong"])
def test_a_failing_checks_snippet_runs_by_itself(mutant, failures):
    detail = next(c.detail for c in failures[mutant] if c.outcome is Outcome.FAIL)
    snippet = detail.split("to reproduce:\n", 1)[1]
    done = subprocess.run(
        [sys.executable, "-"],
        input="\n".join(line[4:] for line in snippet.splitlines()),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
