"""The suite refuses each wrong implementation, by the clause that it violates."""

from __future__ import annotations

import functools
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from coreml_assay import conformance
from coreml_assay.records import CheckResult, Outcome
from mutants.areas import AREAS
from mutants.table import PAGE, in_words

TESTS = Path(__file__).parents[1]
SUITE = Path(conformance.__file__).parent
# Fault and clause to the checks that fail, as docs/mutants.md has them.
ROWS = {
    (fault, clause): killed
    for fault, clause, killed in re.findall(
        r"^\| ([^|]+) \| (\w+\.\d+) \| (.*`.*) \|$", PAGE.read_text(), re.MULTILINE
    )
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore"}
# The tests of an area share a run, so they belong to one worker.
GROUPS = {area: pytest.mark.xdist_group(f"mutants of {area}") for area in AREAS}
EACH_AREA = [pytest.param(area, marks=GROUPS[area], id=area) for area in AREAS]
EACH_MUTANT = [
    pytest.param(area, mutant, marks=GROUPS[area], id=mutant.__name__)
    for area, mutants in AREAS.items()
    for mutant in mutants
]


@functools.cache
def results_of(area):
    """Each mutant's checks up to the first that fails, and all of the reference."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "mutants", area, folder],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {
            file.stem: [
                msgspec.json.decode(line, type=CheckResult)
                for line in file.read_bytes().splitlines()
            ]
            for file in Path(folder).glob("*.jsonl")
            if not file.stem.endswith(".planned")
        }


@pytest.mark.parametrize(("area", "mutant"), EACH_MUTANT)
def test_a_wrong_implementation_fails_its_clause(area, mutant):
    checks = results_of(area)[mutant.__name__]
    failed = [check for check in checks if check.outcome is Outcome.FAIL]
    assert failed, f"{mutant.__name__} passes every check of {mutant.violates}"
    for check in failed:
        assert mutant.violates in check.clauses
        assert f"`{check.check.split('[')[0]}`" in ROWS[in_words(mutant), mutant.violates]
        assert " violates " in check.detail.splitlines()[0], check.detail
        assert "TypeError" not in check.detail, "the fault does not fit what it replaces"


def test_the_page_shows_every_mutant_and_checks_that_exist():
    assert list(ROWS) == [
        (in_words(mutant), mutant.violates) for mutants in AREAS.values() for mutant in mutants
    ]
    for killed in ROWS.values():
        for check in re.findall(r"`(.+?)`", killed):
            file, name = check.split("::")
            assert f"def {name}(" in (SUITE / file).read_text()


@pytest.mark.parametrize(("area", "mutant"), EACH_MUTANT)
def test_a_fault_takes_the_place_of_something(area, mutant):
    for name in mutant.faults:
        pkgutil.resolve_name(f"coreml_assay.{name}")  # raises where there is nothing


@pytest.mark.parametrize("area", EACH_AREA)
def test_the_reference_passes_where_the_mutants_fail(area):
    checks = results_of(area)["reference"]
    assert {check.outcome for check in checks} == {Outcome.PASS}
    passed = {clause for check in checks for clause in check.clauses}
    assert {mutant.violates for mutant in AREAS[area]} <= passed


@GROUPS["weights"]
@pytest.mark.parametrize("mutant", ["Truncates", "BlocksTwiceAsLong"])
def test_a_failing_checks_snippet_runs_by_itself(mutant):
    failed = (c for c in results_of("weights")[mutant] if c.outcome is Outcome.FAIL)
    snippet = next(failed).detail.split("to reproduce:\n", 1)[1]
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
