"""The gate's verdict on a record: its own rules first, then the comparison with a baseline."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from coreml_assay.gate.absolute import absolute_reasons, measures, not_run_sentence
from coreml_assay.gate.comparison import compare
from coreml_assay.gate.reasons import Kind, Reason, reason
from coreml_assay.gate.words import count
from coreml_assay.records import Record


class Status(enum.Enum):
    """How the gate decided; 2 is left to input that cannot be read."""

    PASS = "pass"
    REGRESSION = "regression"
    NOTHING_MEASURED = "nothing measured"

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return {Status.PASS: 0, Status.REGRESSION: 1, Status.NOTHING_MEASURED: 3}[self]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, the reasons against passing, and notes that changed nothing in it."""

    status: Status
    reasons: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()

    @property
    def headline(self) -> str:
        """One line that says how it ended."""
        if self.status is Status.PASS:
            return "Pass: nothing speaks against this record"
        return f"{self.status.value.capitalize()}: {count(len(self.reasons), 'reason')}"


def judge(record: Record, baseline: Record | None) -> Verdict:
    """Judge a record, against a baseline where there is one.

    A record that measured nothing is ``NOTHING_MEASURED`` even where the baseline measured
    something, because there is nothing to compare; what it did get wrong outranks that.
    """
    own = tuple(absolute_reasons(record))
    lost, notes = compare(record, baseline) if baseline is not None else ((), ())
    reasons = own + lost
    notes = (*_not_installed(record), *notes)
    if not _measures(record):
        if any(found.kind is not Kind.NOTHING_MEASURED for found in own):
            return Verdict(status=Status.REGRESSION, reasons=reasons, notes=notes)
        nothing = reason("record", Kind.NOTHING_MEASURED, "The record measured nothing.")
        return Verdict(status=Status.NOTHING_MEASURED, reasons=(nothing, *reasons), notes=notes)
    status = Status.REGRESSION if reasons else Status.PASS
    return Verdict(status=status, reasons=reasons, notes=notes)


def _not_installed(record: Record) -> Iterator[Reason]:
    """Notes on what could have been measured and is not there."""
    for missing in record.not_run:
        if missing.state == "not installed":
            yield reason(missing.implementation, Kind.NOT_RUN, not_run_sentence(missing))


def _measures(record: Record) -> bool:
    """Whether anything was measured; suites that came to nothing are not made up for by models."""
    if record.suites:
        return any(measures(suite) for suite in record.suites)
    return bool(record.models or record.agreements or record.accuracy or record.latency)
