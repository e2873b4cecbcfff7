"""Running one check of a record again, as it was run then."""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path

import attrs

from coreml_assay import __version__
from coreml_assay.conformance.registry import checks_of_files
from coreml_assay.conformance.runner import SuiteError, run_suite
from coreml_assay.records import CheckResult, Record, SuiteRun


class ReplayError(ValueError):
    """A check that cannot be run again; the message is one line and says why."""


@attrs.frozen
class Replay:
    """A check that was run again.

    Attributes:
        implementation: its name and version now.
        recorded_version: its version then.
        before: what the record holds.
        now: what was found.
    """

    implementation: str
    version: str
    recorded_version: str
    before: CheckResult
    now: CheckResult


def suites_with(record: Record, check: str, implementation: str | None) -> list[SuiteRun]:
    """The runs of a record that a check is to be run again for.

    Args:
        record: that holds the check.
        check: its name, as records and reports give it.
        implementation: what it was loaded by, or its name; None for all.

    Raises:
        ReplayError: the suite has no such file, the record no such check or implementation.
    """
    if check.split("::", 1)[0] not in checks_of_files():
        raise ReplayError(f"{check!r} is in no file of the suite of coreml-assay {__version__}")
    names = sorted({_name(suite) for suite in record.suites})
    wanted = [
        suite
        for suite in record.suites
        if implementation in (None, suite.loaded_as, suite.implementation)
    ]
    if not wanted:
        known = f"it has {', '.join(names)}" if names else "it has no run of the suite"
        raise ReplayError(f"the record has no implementation {implementation!r}; {known}")
    found = [suite for suite in wanted if _result(suite, check) is not None]
    if not found:
        checks = sorted({each.check for suite in wanted for each in suite.checks})
        near = difflib.get_close_matches(check, checks, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ReplayError(f"the record has no check {check!r}{hint}")
    return found


def replay(record: Record, suite: SuiteRun, check: str) -> Replay:
    """Run a check again, with the record's seed and profile.

    Args:
        record: that holds it.
        suite: the run that is to be repeated, one that `suites_with` names.
        check: its name.

    Raises:
        ImplementationError: the implementation cannot be loaded.
        ReplayError: the check is not in the suite as it is now, or ended before it began.
    """
    before = _result(suite, check)
    assert before is not None
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "replay.log"
        try:
            run = run_suite(
                _name(suite), seed=record.seed, profile=record.profile, log=log, check=check
            )
        except SuiteError as error:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
            raise ReplayError(
                f"{check} was not run; pytest's last line was: {last}. The record is of "
                f"coreml-assay {record.tool_version}"
            ) from error
    (now,) = run.checks
    return Replay(run.implementation, run.version, suite.version, before, now)


def _name(suite: SuiteRun) -> str:
    """What an implementation is loaded by; older records have only its own name."""
    return suite.loaded_as or suite.implementation


def _result(suite: SuiteRun, check: str) -> CheckResult | None:
    return next((each for each in suite.checks if each.check == check), None)
