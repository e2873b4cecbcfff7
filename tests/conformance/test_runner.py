"""Running the suite: one area or all of it, and what remains of a process that crashes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from coreml_assay.conformance.registry import (
    AREAS,
    area_of_clause,
    area_of_file,
    check_count,
    checks_of_files,
)
from coreml_assay.conformance.runner import SuiteError, join_areas, run_suite
from coreml_assay.implementations import ImplementationError
from coreml_assay.records import CheckResult, Outcome, SuiteRun

MODULE = """
import os, signal, time
from pathlib import Path
from coreml_assay.implementations import Unsupported

class OffersNothing:
    name, version = "offers nothing", "1"
    def quantize_weight(self, weight, spec):
        raise Unsupported("nothing at all")
    def gptq(self, weight, inputs, spec):
        raise Unsupported("nothing at all")

class OnTheThirdCall(OffersNothing):
    calls = 0
    def gptq(self, weight, inputs, spec):
        self.calls += 1
        if self.calls == 3:
            self.third()
        raise Unsupported("nothing at all")

class Crashes(OnTheThirdCall):
    name = "crashes"
    def third(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Hangs(OnTheThirdCall):
    name = "hangs"
    def third(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)

class EndsAtOnce(OffersNothing):
    def __init__(self):
        os._exit(int(os.environ["CODE"]))

class Waits(OffersNothing):
    def __init__(self):
        Path(os.environ["WAITING"]).write_text(str(os.getpid()))
        time.sleep(600)

class DoesNotLoad(OffersNothing):
    def __init__(self):
        raise RuntimeError("the engine does not start")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "runner_samples.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def wait_until(holds):
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError


def is_running(process):
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def run(name, folder, area="gptq", **options):
    options |= {"log": folder / "suite.log", "area": area}
    return run_suite(f"runner_samples:{name}", seed=0, profile="quick", **options)


def test_areas_share_out_the_files_of_the_suite():
    assert {area_of_file(file) for file in checks_of_files()} == set(AREAS)
    assert sum(map(check_count, AREAS)) == check_count()
    assert check_count("gptq") < check_count()


def test_an_area_is_run_alone_by_a_process_that_says_who_was_tested(tmp_path):
    suite = run("OffersNothing", tmp_path)
    assert (suite.implementation, suite.version) == ("offers nothing", "1")
    assert suite.checks_expected == len(suite.checks) == check_count("gptq")
    for check in suite.checks:
        file = check.check.split("::")[0]
        assert area_of_file(file) == "gptq"
        assert {area_of_clause(clause) for clause in check.clauses} <= {"gptq"}, check.check
    assert {check.outcome for check in suite.checks} == {Outcome.UNSUPPORTED}
    assert suite.metrics == {}


def test_a_crash_fails_the_check_it_came_in_and_names_what_was_not_reached(tmp_path):
    suite = run("Crashes", tmp_path)
    outcomes = Counter(check.outcome for check in suite.checks)
    assert len(suite.checks) == check_count("gptq")
    assert outcomes[Outcome.FAIL] == 1
    assert outcomes[Outcome.UNSUPPORTED] >= 2
    (crashed,) = (check for check in suite.checks if check.outcome is Outcome.FAIL)
    assert crashed.detail == "the process ended with signal SIGKILL during this check"
    missing = [check for check in suite.checks if check.outcome is Outcome.NOT_MEASURED]
    assert missing
    assert {check.detail for check in missing} == {
        f"not reached: the process ended with signal SIGKILL during {crashed.check}"
    }
    assert all(check.clauses for check in missing)


def test_one_that_hangs_is_ended_and_its_log_says_where(tmp_path, monkeypatch):
    def impatient_from_the_first_result(done):
        if done:
            monkeypatch.setattr("coreml_assay.conformance.runner._SILENCE_SECONDS", 8.0)

    suite = run("Hangs", tmp_path, progress=impatient_from_the_first_result)
    (hung,) = (check for check in suite.checks if check.outcome is Outcome.FAIL)
    assert hung.detail == "the process was ended after 8 s without a result during this check"
    assert any(check.outcome is Outcome.UNSUPPORTED for check in suite.checks)
    assert any(check.outcome is Outcome.NOT_MEASURED for check in suite.checks)
    assert 'runner_samples.py", line' in (tmp_path / "suite.log").read_text()


def test_one_that_hangs_while_it_loads_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("coreml_assay.conformance.runner._SILENCE_SECONDS", 5.0)
    monkeypatch.setenv("WAITING", str(tmp_path / "waiting"))
    with pytest.raises(SuiteError, match="was ended after 5 s without a result; its output is in"):
        run("Waits", tmp_path)


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_process_that_never_gets_to_a_check_is_an_error_with_its_ending(
    tmp_path, monkeypatch, code
):
    monkeypatch.setenv("CODE", str(code))
    ending = f"the process ended with exit code {code}; its output is in"
    with pytest.raises(SuiteError, match=ending):
        run("EndsAtOnce", tmp_path)


def test_one_that_does_not_load_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ImplementationError, match="the engine does not start"):
        run("DoesNotLoad", tmp_path)


PARENT = """
from pathlib import Path
from coreml_assay.conformance.runner import run_suite
run_suite("runner_samples:Waits", seed=0, profile="quick", log=Path("suite.log"), area="gptq")
"""


def test_a_run_ends_when_whoever_started_it_is_killed(tmp_path, monkeypatch):
    waiting = tmp_path / "waiting"
    monkeypatch.setenv("WAITING", str(waiting))
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path)
    wait_until(lambda: waiting.exists() and waiting.read_text())
    process = int(waiting.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(process))


def part(version, names, metrics):
    checks = tuple(
        CheckResult(check=name, kind="property", clauses=("Q.1",), outcome=Outcome.PASS)
        for name in names
    )
    return SuiteRun(
        implementation="x", version=version, checks_expected=2, checks=checks, metrics=metrics
    )


def test_areas_join_to_one_run():
    whole = join_areas([part("1", ["c", "d"], {"memory": 2.0}), part("1", ["a"], {})])
    assert [check.check for check in whole.checks] == ["a", "c", "d"]
    assert (whole.checks_expected, whole.metrics) == (4, {"memory": 2.0})
    with pytest.raises(AssertionError):
        join_areas([part("1", ["c"], {}), part("2", ["a"], {})])
