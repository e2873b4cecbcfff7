"""The suite refuses each wrong LinearQuantizer, by a check that the right one passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from coreml_assay.records import CheckResult, Outcome
from mutants.linear_quantizer import MUTANTS

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each check says of each mutant, and of coremltools as it is."""
    folder = tmp_path_factory.mktemp("mutants")
    done = subprocess.run(
        [sys.executable, "-m", "mutants.linear_quantizer", str(folder)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {file.stem: _by_check(file) for file in folder.glob("*.jsonl")}


def _by_check(file):
    lines = [msgspec.json.decode(line, type=CheckResult) for line in file.read_bytes().splitlines()]
    return {result.check: result for result in lines}


@pytest.mark.xdist_group("mutants of LinearQuantizer")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_wrong_linear_quantizer_fails_its_clause(mutant, results):
    right = results["coremltools"]
    failed = [
        result
        for check, result in results[mutant.__name__].items()
        if result.outcome is Outcome.FAIL and right[check].outcome is Outcome.PASS
    ]
    assert failed, f"{mutant.__name__} passes every check of {mutant.violates}"
    for result in failed:
        assert mutant.violates in result.clauses
        assert " violates " in result.detail.splitlines()[0], result.detail


@pytest.mark.xdist_group("mutants of LinearQuantizer")
def test_coremltools_as_it_is_passes_or_deviates(results):
    outcomes = {result.outcome for result in results["coremltools"].values()}
    assert outcomes == {Outcome.PASS, Outcome.DEVIATION}
