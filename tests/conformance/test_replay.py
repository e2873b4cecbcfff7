"""A check of a record is run again as it was, and what cannot be is said in one line."""

from __future__ import annotations

import shlex

import msgspec
import pytest
from click.testing import CliRunner

from coreml_assay.assay import environment
from coreml_assay.cli import main
from coreml_assay.conformance import replay as replaying
from coreml_assay.conformance.registry import load_clauses, load_deviations
from coreml_assay.conformance.runner import run_suite
from coreml_assay.gate import judge, write_report
from coreml_assay.records import CheckResult, Outcome, Record, SuiteRun, write_record

CHECK = "properties/test_codes.py::test_codes_lie_on_the_grid[int8-symmetric]"
NO_FILE = "is in no file of the suite"
IMPLEMENTATION = """\
import numpy as np
from coreml_assay.implementations.reference import Reference


class Wrong(Reference):
    name, version = "wrong", "1"

    def quantize_weight(self, weight, spec):
        found = super().quantize_weight(weight, spec)
        return found._replace(codes=np.minimum(found.codes.astype(np.int16), 0) - 128)
"""


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    """The name of an implementation that fails the check."""
    (tmp_path / "mine_wrong.py").write_text(IMPLEMENTATION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "mine_wrong:Wrong"


def _record(*suites, seed=11):
    return Record(
        tool_version="0",
        created="2026-01-01T00:00:00+00:00",
        seed=seed,
        profile="quick",
        environment=environment(),
        suites=suites,
    )


def _suite(outcome=Outcome.FAIL, check=CHECK, **fields):
    result = CheckResult(check=check, kind="property", clauses=("Q.1",), outcome=outcome)
    who = {"implementation": "reference", "version": "0", "checks_expected": 1, **fields}
    return SuiteRun(checks=(result,), **who)


def _replay(tmp_path, record, *arguments):
    path = tmp_path / "record.json"
    write_record(record, path)
    done = CliRunner().invoke(main, ["replay", str(path), *arguments])
    return done.exit_code, done.output


def test_the_command_in_the_report_finds_what_the_record_holds(wrong, tmp_path, monkeypatch):
    suite = run_suite(wrong, seed=11, profile="quick", log=tmp_path / "log", check=CHECK)
    (result,) = suite.checks
    assert result.outcome is Outcome.FAIL
    record = _record(suite)
    write_report(tmp_path, record, judge(record, None), load_clauses(), load_deviations())
    command = shlex.join(["coreml-assay", "replay", "record.json", CHECK, "-i", wrong])
    page = (tmp_path / "index.html").read_text().replace("&#39;", "'")
    assert command in page
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, shlex.split(command)[1:])
    assert done.exit_code == 1
    assert "wrong 1, seed 11, profile quick" in done.output
    assert f"recorded: fail\nnow:      fail\n{result.detail}\n" in done.output


def test_it_runs_with_the_seed_and_profile_of_the_record(monkeypatch):
    suite, given = _suite(loaded_as="mine:Thing"), []
    monkeypatch.setattr(
        replaying, "run_suite", lambda *names, **how: given.append((names, how)) or suite
    )
    record = msgspec.structs.replace(_record(suite, seed=23), profile="thorough")
    replaying.replay(record, suite, CHECK)
    ((names, how),) = given
    assert names == ("mine:Thing",)
    assert (how["seed"], how["profile"], how["check"]) == (23, "thorough", CHECK)


def test_what_passes_now_is_said_to(tmp_path):
    code, output = _replay(tmp_path, _record(_suite()), CHECK)
    assert code == 0
    assert "recorded: fail\nnow:      pass (of reference " in output


@pytest.mark.parametrize(
    ("record", "arguments", "message"),
    [
        (_record(_suite()), [CHECK.replace("grid", "gird")], f"did you mean '{CHECK}'"),
        (_record(_suite()), [CHECK, "-i", "mine"], "no implementation 'mine'; it has reference"),
        (_record(), [CHECK, "-i", "mine"], "it has no run of the suite"),
        (_record(_suite(check="properties/gone.py::test")), ["properties/gone.py::test"], NO_FILE),
        (_record(_suite(loaded_as="nobody")), [CHECK], "nobody"),
        (_record(_suite(check="../../x.py::test")), ["../../x.py::test"], NO_FILE),
        (msgspec.structs.replace(_record(_suite()), profile="accuracy"), [CHECK], "accuracy"),
    ],
    ids=["check", "implementation", "no-suite", "gone", "unknown", "outside", "profile"],
)
def test_what_cannot_be_run_again_is_an_error_of_one_line(tmp_path, record, arguments, message):
    code, output = _replay(tmp_path, record, *arguments)
    assert code == 2
    assert message in output
    assert len(output.splitlines()) <= 2
    assert "Traceback" not in output
