"""Drift tells what changed, how many and by the smallest example; of equals it tells nothing."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from factories import record

from coreml_assay.cli import main
from coreml_assay.cli.drift import drift_text
from coreml_assay.gate import drift as drifting
from coreml_assay.gate.drift import DriftError, drift, drifts
from coreml_assay.goldens.store import FROZEN, frozen_goldens
from coreml_assay.records import CheckResult, Outcome, SuiteRun, write_record

VERSIONS = ["8.0", "8.1", "8.2", "8.3.0", "9.0"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "drift.md"


def suite(version, **outcomes):
    checks = tuple(
        CheckResult(check=name, kind="property", clauses=("Q.1",), outcome=outcome)
        for name, outcome in outcomes.items()
    )
    return SuiteRun(implementation="x", version=version, checks_expected=2, checks=checks)


def change(found, what):
    (only,) = [each for each in found.changes if each.what == what]
    return only


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_does_not_drift_from_itself(version):
    found = drift(f"coremltools-{version}", f"coremltools-{version}")
    assert found.changes == ()
    assert "goldens of weights" in found.compared


def test_outcomes_that_changed_are_counted_by_clause():
    old = suite("1", one=Outcome.PASS, two=Outcome.FAIL, three=Outcome.PASS)
    new = suite("2", one=Outcome.FAIL, two=Outcome.FAIL, three=Outcome.FAIL)
    found = drift("x-1", "x-2", [old, new])
    assert found.compared == ("listed deviations", "outcomes of checks")
    (only,) = found.changes
    assert (only.what, only.count, only.of, only.example) == ("Q.1: pass -> fail", 2, 3, "one")
    assert drift("x-1", "x-1", [old]).changes == ()


def test_each_version_among_suites_is_compared_with_the_next():
    suites = [suite(version, one=Outcome.PASS) for version in ("1.10", "1.9", "mine", "1.9.1")]
    found = [(each.old, each.new) for each in drifts([*suites, suite("1.9", one=Outcome.FAIL)])]
    assert found == [("x-mine", "x-1.9"), ("x-1.9", "x-1.9.1"), ("x-1.9.1", "x-1.10")]
    assert drifts([suites[0]]) == drifts([]) == []


def edited(edit):
    """Drift of the weights of 9.0 to what an edit makes of them."""
    goldens = frozen_goldens("coremltools-9.0/weights")
    return list(drifting._goldens("weights", goldens, edit(goldens)))


def test_one_changed_code_is_found():
    def edit(goldens):
        codes = goldens.arrays["a000.codes"].copy()
        codes[1, 2] += 1
        return msgspec.structs.replace(goldens, arrays={**goldens.arrays, "a000.codes": codes})

    (only,) = edited(edit)
    assert only.what == "weights: codes"
    assert only.count == 1
    assert re.fullmatch(r"a000.codes: -?\d+ became -?\d+ at \[1, 2\], 1 of 120", only.example)


def test_a_zero_whose_sign_changed_is_found():
    assert drifting._different_values(np.zeros(2), np.array([0.0, -0.0]))
    assert not drifting._different_values(np.array([np.nan]), np.array([np.nan]))


def test_one_line_changed_in_place_is_found():
    def edit(goldens):
        first, *others = goldens.cases.programs
        lines = ("something else", *first.description[1:])
        programs = (msgspec.structs.replace(first, description=lines), *others)
        return msgspec.structs.replace(
            goldens, cases=msgspec.structs.replace(goldens.cases, programs=programs)
        )

    (only,) = edited(edit)
    assert (only.what, only.count) == ("weights: lines of programs", 1)
    assert only.example.endswith("+ something else")


def test_the_first_changed_line_of_the_shortest_program_is_shown():
    def edit(goldens):
        programs = tuple(
            msgspec.structs.replace(each, description=(*each.description, "more"))
            for each in goldens.cases.programs
        )
        return msgspec.structs.replace(
            goldens, cases=msgspec.structs.replace(goldens.cases, programs=programs)
        )

    (only,) = edited(edit)
    assert (only.what, only.count) == ("weights: lines of programs", 8)
    assert only.example.endswith("- nothing\n+ more")


def test_a_case_that_only_one_has_is_named_and_its_arrays_are_not_counted():
    def edit(goldens):
        cases = msgspec.structs.replace(goldens.cases, arrays=goldens.cases.arrays[1:])
        arrays = {
            name: array for name, array in goldens.arrays.items() if not name.startswith("a000.")
        }
        return msgspec.structs.replace(goldens, cases=cases, arrays=arrays)

    (only,) = edited(edit)
    assert (only.what, only.count, only.example) == ("weights: lost cases", 1, "a000")


def test_an_unknown_version_is_named_with_those_that_are_known():
    with pytest.raises(DriftError, match=r"coremltools-7\.2: nothing.*coremltools-8\.0"):
        drift("coremltools-9.0", "coremltools-7.2")


def test_the_command_ends_with_1_where_anything_changed():
    same = CliRunner().invoke(main, ["drift", "coremltools-9.0", "coremltools-9.0"])
    assert same.exit_code == 0, same.output
    assert same.output.startswith("coremltools-9.0 -> coremltools-9.0: no changes\n")
    other = CliRunner().invoke(main, ["drift", "coremltools-8.3.0", "coremltools-9.0", "--json"])
    assert other.exit_code == 1
    kinds = {each["kind"] for each in json.loads(other.output)["changes"]}
    assert {"deviation", "programs"} <= kinds
    bad = CliRunner().invoke(main, ["drift", "coremltools-9.0", "coremltools-1"])
    assert bad.exit_code == 2


def test_a_report_on_two_versions_shows_what_changed(tmp_path):
    suites = suite("1", one=Outcome.PASS), suite("2", one=Outcome.UNSUPPORTED)
    write_record(record(suites=suites), tmp_path / "record.json")
    arguments = ["report", str(tmp_path / "record.json"), "-o", str(tmp_path / "report")]
    CliRunner().invoke(main, arguments)
    assert "Q.1: pass -&gt; unsupported" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(("old", "new"), list(pairwise(VERSIONS)))
def test_the_document_shows_what_changed(old, new):
    text = drift_text(drift(f"coremltools-{old}", f"coremltools-{new}"))
    assert all(len(line) <= 80 for line in text.split("\n"))
    assert f"```\n{text}\n```" in DOCUMENT.read_text(encoding="utf-8")


def test_every_version_has_goldens():
    assert {name.rpartition("/")[0] for name in FROZEN} == {f"coremltools-{v}" for v in VERSIONS}
