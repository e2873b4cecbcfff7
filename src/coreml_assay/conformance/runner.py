"""Running the suite over one implementation, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from coreml_assay.conformance import traces
from coreml_assay.conformance.registry import area_of_file, check_count, checks_of_files
from coreml_assay.implementations import ImplementationError, process_environment
from coreml_assay.records import CheckResult, Outcome, SuiteRun

_POLL_SECONDS = 0.2
_SUITE = Path(__file__).parent
# How pytest ends when it has run its tests, passing and failing.
_RAN_TO_THE_END = (0, 1)
# The longest check of quick takes about a second; thorough tries 62 times as many inputs.
_SILENCE_SECONDS = 900.0
_LAST_WORDS_SECONDS = 10.0


class Cancelled(Exception):  # noqa: N818 - not an error: the run is no longer wanted
    """Raised by a progress callback to end a run."""


class SuiteError(RuntimeError):
    """The suite could not be run at all; the message says why and where its output is."""


def run_suite(
    implementation: str,
    *,
    seed: int,
    profile: str,
    log: Path,
    area: str | None = None,
    check: str | None = None,
    variables: dict[str, str] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> SuiteRun:
    """Run every check, those of one area, or a single one on an implementation.

    The checks run in a process of their own, which has the implementation's overlay in front if
    there is one; who was tested is what that process found. One that crashes ends its own run and
    no other: the check that it crashed in fails, those that were not reached are not measured. So
    does one that hangs; pytest's output then has the stack of each of its threads.

    Args:
        implementation: a name, ``module:object`` or ``command:PROGRAM``.
        seed: of hypothesis; the same seed tries the same inputs.
        profile: "quick" or "thorough".
        log: where pytest's output goes.
        area: one of `registry.AREAS`, or None for all.
        check: the name of the one to run; the area is then of no account.
        variables: of the environment, for the process, beside those it has anyway.
        progress: called with the number of checks done; may raise `Cancelled`.

    Raises:
        Cancelled: by the progress callback; the process is ended.
        ImplementationError: the implementation cannot be loaded.
        SuiteError: pytest ended before it ran a single check.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        arguments = pytest_arguments(implementation, seed, profile, results, area, check)
        environment = {**process_environment(implementation), **(variables or {})}
        complete, ending = _run_pytest(arguments, environment, results, log, progress)
        checks, planned = traces.read_results(results), traces.read_planned(results)
        tested = traces.read_tested(results)
    if tested is not None and tested.error is not None:
        raise ImplementationError(tested.error)
    if tested is None or not planned:
        raise SuiteError(f"no check was run on {implementation}: {ending}; its output is in {log}")
    if not complete:
        checks += _left_undone(checks, planned, ending)
    return SuiteRun(
        implementation=tested.implementation,
        version=tested.version,
        checks_expected=1 if check else check_count(area),
        checks=tuple(sorted(checks, key=lambda result: result.check)),
        loaded_as=implementation,
        metrics=tested.metrics,
    )


def pytest_arguments(
    implementation: str,
    seed: int,
    profile: str,
    results: Path,
    area: str | None = None,
    check: str | None = None,
) -> list[str]:
    """What to give pytest to run the suite, with its own settings and no others."""
    with_figures = check is None and area in (None, "weights")
    figures = ["--assay-figures"] if with_figures else []
    settings = suite_settings(implementation, seed, profile, results)
    return [*_selection(area, check), *settings, *figures]


def suite_settings(implementation: str, seed: int, profile: str, results: Path) -> list[str]:
    """What to give pytest beside the files or checks of the suite that are to be run."""
    return [
        *("-q", "-p", "no:cacheprovider"),
        *("-c", str(_SUITE / "pytest.ini"), "--rootdir", str(_SUITE)),
        *("--implementation", implementation, "--assay-profile", profile),
        *("--hypothesis-seed", str(seed), "--assay-results", str(results)),
    ]


def _selection(area: str | None, check: str | None) -> list[str]:
    if check is not None:
        return [str(_SUITE / check)]
    if area is None:
        return ["--pyargs", "coreml_assay.conformance"]
    return [str(_SUITE / file) for file in checks_of_files() if area_of_file(file) == area]


def _run_pytest(
    arguments: Sequence[str],
    environment: dict[str, str],
    results: Path,
    log: Path,
    progress: Callable[[int], None],
) -> tuple[bool, str]:
    """Whether pytest ran its tests to the end, and how it ended, in words."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # The suite is the same suite whatever the surrounding project sets for its own tests.
        kept = {key: value for key, value in environment.items() if key != "PYTEST_ADDOPTS"}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**kept, traces.PARENT_VARIABLE: str(os.getpid())},
        )
        try:
            hangs = _wait(process, results, progress)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    progress(traces.count_results(results))
    if hangs:
        return False, f"the process was ended after {_SILENCE_SECONDS:g} s without a result"
    code = process.returncode
    return code in _RAN_TO_THE_END, f"the process ended with {_ending(code)}"


def _wait(process: subprocess.Popen[bytes], results: Path, progress: Callable[[int], None]) -> bool:
    """Wait until a process ends; one that writes no result for long is ended. Whether it was."""
    done, since = 0, time.monotonic()
    while process.poll() is None:
        before, done = done, traces.count_results(results)
        progress(done)
        if done != before:
            since = time.monotonic()
        if time.monotonic() - since > _SILENCE_SECONDS:
            _end_with_stacks(process)
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _end_with_stacks(process: subprocess.Popen[bytes]) -> None:
    """End a process by the signal on which pytest's handler writes what each thread is at."""
    process.send_signal(signal.SIGABRT)
    try:
        process.wait(_LAST_WORDS_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _left_undone(
    checks: Sequence[CheckResult], planned: Sequence[CheckResult], ending: str
) -> list[CheckResult]:
    """Results for what a process did not get done that ended early; the first is where it did."""
    done = {check.check for check in checks}
    left = [check for check in planned if check.check not in done]
    if not left:
        return []
    where, *others = left
    crash = f"{ending} during this check"
    skipped = f"not reached: {ending} during {where.check}"
    return [
        msgspec.structs.replace(where, outcome=Outcome.FAIL, detail=crash),
        *(msgspec.structs.replace(check, detail=skipped) for check in others),
    ]


def join_areas(parts: Sequence[SuiteRun]) -> SuiteRun:
    """One run made of runs over areas, of the same implementation and version."""
    first = parts[0]
    assert {(each.implementation, each.version) for each in parts} == {
        (first.implementation, first.version)
    }
    checks = (check for each in parts for check in each.checks)
    return SuiteRun(
        implementation=first.implementation,
        version=first.version,
        checks_expected=sum(each.checks_expected for each in parts),
        checks=tuple(sorted(checks, key=lambda result: result.check)),
        loaded_as=first.loaded_as,
        metrics={name: value for each in parts for name, value in each.metrics.items()},
    )
