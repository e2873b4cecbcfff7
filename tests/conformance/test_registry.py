"""The clauses, the checks and the deviations hold together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import coremltools
import msgspec
import pytest
from reproduce import reproduce

from coreml_assay.conformance import plugin
from coreml_assay.conformance.registry import (
    Deviation,
    checks_of_files,
    expected_failure,
    load_clauses,
    load_deviations,
)
from coreml_assay.implementations.environments import (
    catalogue,
    install_command,
    is_installed,
    process_environment,
)

CLAUSES = load_clauses()
DEVIATIONS = load_deviations()
REPRODUCE = str(Path(__file__).with_name("reproduce.py"))
EARLIER = [name for name in catalogue() if name.startswith("coremltools-")]


# Clauses that state what coremltools' own files hold.
ABOUT_GOLDENS = {"A.34", "G.28", "L.25", "L.26", "L.27", "Q.19", "W.23"}
WITHOUT_GOLDENS = {
    "C": "what a configuration chooses shows in the programs of W.23",
    "M": "figures about a weight, which a property computes from it",
    "D": "values are what the codes stand for, and those are in W.23",
    "P": "recipes run models that they make, and look at what the page promises of them",
}


class _Collector:
    def __init__(self):
        self.checks = {}

    def pytest_collection_finish(self, session):
        self.checks = {plugin.check_name(item): plugin.clauses_of(item) for item in session.items}


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """Every check of the suite, with the clauses it names."""
    collector = _Collector()
    arguments = ["--pyargs", "coreml_assay.conformance", "--collect-only", "-qq"]
    folder = tmp_path_factory.mktemp("root")
    pytest.main([*arguments, "-p", "no:cacheprovider", "--rootdir", str(folder)], [collector])
    return collector.checks


def test_each_file_of_the_suite_has_as_many_checks_as_it_says(checks):
    assert Counter(check.split("::")[0] for check in checks) == checks_of_files()


def test_every_check_names_a_clause_that_exists(checks):
    known = {clause.id for clause in CLAUSES}
    wrong = {check: clauses for check, clauses in checks.items() if not set(clauses) & known}
    assert wrong == {}
    assert {clause for clauses in checks.values() for clause in clauses} <= known


def test_every_clause_has_a_check(checks):
    named = {clause for clauses in checks.values() for clause in clauses}
    assert [clause.id for clause in CLAUSES if clause.id not in named] == []


def test_every_clause_has_a_property_but_those_about_files_and_recipes(checks):
    with_property = {
        clause
        for check, clauses in checks.items()
        if check.startswith("properties/")
        for clause in clauses
    }
    others = {clause.id for clause in CLAUSES} - with_property
    assert others == ABOUT_GOLDENS | {each.id for each in CLAUSES if each.id.startswith("P.")}


def test_every_area_has_goldens(checks):
    with_golden = {
        clause.split(".")[0]
        for check, clauses in checks.items()
        if check.startswith("goldens/")
        for clause in clauses
    }
    letters = {clause.id.split(".")[0] for clause in CLAUSES}
    assert letters - with_golden == WITHOUT_GOLDENS.keys()


def test_clauses_are_single_sentences_with_unique_ids():
    assert len({clause.id for clause in CLAUSES}) == len(CLAUSES)
    for clause in CLAUSES:
        assert clause.text.endswith("."), clause.id
        assert clause.source, clause.id


def test_deviations_name_checks_and_clauses_that_exist(checks):
    names = set(checks) | {check.split("[", 1)[0] for check in checks}
    known = {clause.id for clause in CLAUSES}
    for deviation in DEVIATIONS:
        assert deviation.all_checks() <= names, deviation.id
        assert set(deviation.clauses) <= known, deviation.id
        named = {
            clause
            for check, clauses in checks.items()
            if {check, check.split("[", 1)[0]} & deviation.all_checks()
            for clause in clauses
        }
        assert set(deviation.clauses) <= named, f"{deviation.id}: a clause that no check is about"


def test_deviation_ids_are_unique():
    assert len({deviation.id for deviation in DEVIATIONS}) == len(DEVIATIONS)


@pytest.mark.parametrize(
    "deviation",
    [each for each in DEVIATIONS if each.applies_to("coremltools", coremltools.__version__)],
    ids=lambda deviation: deviation.id,
)
def test_the_reproduction_shows_what_is_observed(deviation):
    assert reproduce(deviation.reproduction, deviation.id) is None


@pytest.mark.slow  # a process for each version that is installed beside this one
@pytest.mark.parametrize("name", EARLIER)
def test_reproductions_show_what_is_observed_in_an_earlier_version(name):
    entry = catalogue()[name]
    if not is_installed(entry):
        pytest.skip(f"{name} is not installed: {install_command(name)}")
    version = name.removeprefix("coremltools-")
    chosen = [each.id for each in DEVIATIONS if each.applies_to("coremltools", version)]
    assert chosen
    done = subprocess.run(
        [sys.executable, REPRODUCE, *chosen],
        env=process_environment(name),
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    found = json.loads(done.stdout)
    assert found.pop("version") == version
    assert found == dict.fromkeys(chosen)


def test_every_deviation_is_about_a_version_that_can_be_had():
    versions = [name.removeprefix("coremltools-") for name in EARLIER] + ["9.0"]
    for deviation in DEVIATIONS:
        if deviation.implementation == "coremltools":
            assert any(deviation.applies_to("coremltools", each) for each in versions), deviation.id
            for part in deviation.checks_in:
                entry = msgspec.structs.replace(deviation, versions=part)
                inside = [each for each in versions if entry.applies_to("coremltools", each)]
                assert inside, f"{deviation.id}: {part}"
                assert all(deviation.applies_to("coremltools", each) for each in inside)


def made(versions, *checks, **more):
    return Deviation(
        id="x",
        title="x",
        implementation="coremltools",
        versions=versions,
        severity="A",
        documented="",
        observed="",
        decision="docs",
        clauses=("Q.1",),
        checks=checks,
        reproduction="",
        **more,
    )


def test_a_deviation_is_bound_to_its_versions_and_checks():
    entry = made("==9.0", "a.py::test_one[int8]", "a.py::test_two")
    assert entry.applies_to("coremltools", "9.0")
    assert not entry.applies_to("coremltools", "9.1")
    assert not entry.applies_to("reference", "9.0")
    assert entry.fails("a.py::test_one[int8]", "9.0")
    assert not entry.fails("a.py::test_one[int4]", "9.0")
    assert entry.fails("a.py::test_two[anything]", "9.0")


def test_some_checks_fail_on_part_of_the_versions_only():
    in_8 = {"==8.0": ("a.py::test_two[int8]",)}
    entry = made(">=8.0,<=9.0", "a.py::test_one", checks_in=in_8)
    assert entry.fails("a.py::test_one", "8.0")
    assert entry.fails("a.py::test_one", "9.0")
    assert entry.fails("a.py::test_two[int8]", "8.0")
    assert not entry.fails("a.py::test_two[int8]", "9.0")
    assert entry.all_checks() == {"a.py::test_one", "a.py::test_two[int8]"}


def test_slips_of_the_documentation_fail_nothing():
    slips = [deviation for deviation in DEVIATIONS if deviation.decision == "coremltools"]
    assert slips
    for deviation in slips:
        for check in deviation.checks:
            found = expected_failure(check, "coremltools", "9.0")
            assert found is None or found.id != deviation.id
