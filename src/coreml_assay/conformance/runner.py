"""Running the suite over one implementation, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from coreml_assay.conformance.memory import extra_memory_ratio
from coreml_assay.conformance.registry import check_count
from coreml_assay.implementations import load_implementation
from coreml_assay.records import CheckResult, SuiteRun

_POLL_SECONDS = 0.2


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
    progress: Callable[[int], None] = lambda done: None,
) -> SuiteRun:
    """Run every check on an implementation.

    The checks run in a process of their own, so an implementation that crashes ends its own run
    and no other; the checks that were not reached are then missing from the result.

    Args:
        implementation: a name, ``module:object`` or ``command:PROGRAM``.
        seed: of hypothesis; the same seed tries the same inputs.
        profile: "quick" or "thorough".
        log: where pytest's output goes.
        progress: called with the number of checks done; may raise `Cancelled`.

    Raises:
        Cancelled: by the progress callback; the process is ended.
        ImplementationError: the implementation cannot be loaded.
        SuiteError: pytest ended before it ran a single check.
    """
    loaded = load_implementation(implementation)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        _run_pytest(implementation, seed, profile, results, log, progress)
        checks = _read(results)
    if not checks:
        raise SuiteError(f"no check was run on {implementation}; pytest's output is in {log}")
    return SuiteRun(
        implementation=loaded.name,
        version=loaded.version,
        checks_expected=check_count(),
        checks=tuple(sorted(checks, key=lambda result: result.check)),
        metrics=extra_memory_ratio(loaded),
    )


def pytest_arguments(implementation: str, seed: int, profile: str, results: Path) -> list[str]:
    """What to give pytest to run the suite, with its own settings and no others."""
    suite = Path(__file__).parent
    return [
        *("--pyargs", "coreml_assay.conformance", "-q", "-p", "no:cacheprovider"),
        *("-c", str(suite / "pytest.ini"), "--rootdir", str(suite)),
        *("--implementation", implementation, "--assay-profile", profile),
        *("--hypothesis-seed", str(seed), "--assay-results", str(results)),
    ]


def _run_pytest(
    implementation: str,
    seed: int,
    profile: str,
    results: Path,
    log: Path,
    progress: Callable[[int], None],
) -> None:
    arguments = ["-m", "pytest", *pytest_arguments(implementation, seed, profile, results)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            # The suite is the same suite whatever the surrounding project sets for its own tests.
            env={key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"},
        )
        try:
            while process.poll() is None:
                progress(_lines(results))
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    progress(_lines(results))


def _lines(results: Path) -> int:
    return results.read_bytes().count(b"\n") if results.exists() else 0


def _read(results: Path) -> list[CheckResult]:
    if not results.exists():
        return []
    # A process that was killed may leave its last line unfinished.
    lines = results.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=CheckResult) for line in lines]
