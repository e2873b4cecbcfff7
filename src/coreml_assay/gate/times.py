"""The gate for time: what a comparison of two sides means, workload by workload.

Slower, faster or not slower is said only where the whole interval of the ratio says so, over more
than one start of the processes; one number decides nothing.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterator, Sequence

import attrs

from coreml_assay.gate.reasons import Kind, Reason, reason
from coreml_assay.gate.tolerances import TIME_DIFFERENCE, TIME_RATIO, TIME_RATIO_ELSEWHERE
from coreml_assay.gate.verdict import Status, Verdict
from coreml_assay.gate.words import ratio_words
from coreml_assay.timing.intervals import Interval, ratio_interval
from coreml_assay.timing.records import Pair, TimeRecord, Workload

LEAST_STARTS = 2
MOST_STARTS = 8
# Of all the intervals of one workload together: one is looked at after each start but the first.
CONFIDENCE = 0.99
_CONFIDENCE_OF_ONE = 1 - (1 - CONFIDENCE) / (MOST_STARTS - LEAST_STARTS + 1)


class Finding(enum.Enum):
    """What the times of a workload say."""

    SLOWER = "slower"
    NOT_SLOWER = "not slower"  # by as much as counts
    FASTER = "faster"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


@attrs.frozen
class Comparison:
    """The times of a workload.

    Attributes:
        finding: what they say.
        before, after: median CPU seconds of one call.
        interval: of after / before.
    """

    finding: Finding
    before: float | None = None
    after: float | None = None
    interval: Interval | None = None


def compare_times(pairs: Sequence[Pair]) -> Comparison:
    """What the pairs of one workload say."""
    if not pairs:
        return Comparison(Finding.NOT_MEASURED)
    before = statistics.median(pair.before_cpu / pair.calls for pair in pairs)
    after = statistics.median(pair.after_cpu / pair.calls for pair in pairs)
    interval = interval_of(pairs)
    finding = Finding.UNDECIDED
    if len({pair.start for pair in pairs}) >= LEAST_STARTS:
        finding = _finding(interval, after - before)
    return Comparison(finding, before, after, interval)


def interval_of(pairs: Sequence[Pair]) -> Interval:
    """The interval of after / before in CPU time."""
    return ratio_interval(
        [pair.before_cpu for pair in pairs], [pair.after_cpu for pair in pairs], _CONFIDENCE_OF_ONE
    )


def settled(pairs: Sequence[Pair]) -> bool:
    """Whether the pairs of a workload decide, so that more are not needed."""
    return compare_times(pairs).finding not in (Finding.UNDECIDED, Finding.NOT_MEASURED)


def _finding(interval: Interval, difference: float) -> Finding:
    if abs(difference) * 1000 < TIME_DIFFERENCE.value:
        return Finding.NOT_SLOWER
    if interval.low > TIME_RATIO.value:
        return Finding.SLOWER
    if interval.high < 1 / TIME_RATIO.value:
        return Finding.FASTER
    return Finding.NOT_SLOWER if interval.high < TIME_RATIO.value else Finding.UNDECIDED


def judge_times(record: TimeRecord, baseline: TimeRecord | None = None) -> Verdict:
    """Judge a comparison; against an accepted one, ratio against ratio, where there is one.

    With a baseline it is not the sides that are judged against each other, but how their ratio
    changed since: no second of one session is compared with a second of another.
    """
    reasons: list[Reason] = []
    notes: list[Reason] = []
    accepted = {each.name: each for each in baseline.workloads} if baseline else {}
    elsewhere = baseline is not None and _place(record) != _place(baseline)
    for workload in record.workloads:
        found = (
            _against_each_other(record, workload)
            if baseline is None
            else _against_accepted(record, workload, accepted.get(workload.name), elsewhere)
        )
        for each in found:
            (notes if each.kind in _NOTES else reasons).append(each)
    names = {workload.name for workload in record.workloads if workload.pairs}
    reasons.extend(
        reason(name, Kind.MISSING, f"{name}: the baseline has its times, this record has not.")
        for name, each in accepted.items()
        if each.pairs and name not in names
    )
    if not names and not reasons:
        nothing = reason("record", Kind.NOTHING_MEASURED, "Nothing was measured.")
        return Verdict(status=Status.NOTHING_MEASURED, reasons=(nothing,), notes=tuple(notes))
    status = Status.REGRESSION if reasons else Status.PASS
    return Verdict(status=status, reasons=tuple(reasons), notes=tuple(notes))


_NOTES = frozenset({Kind.FASTER, Kind.UNDECIDED, Kind.IMPROVED, Kind.NEW, Kind.NOT_COMPARED})


def _place(record: TimeRecord) -> tuple[str, ...]:
    """What ratios depend on beside the code."""
    return (record.machine.cpu, record.before.kernels, record.after.kernels)


def _against_each_other(record: TimeRecord, workload: Workload) -> Iterator[Reason]:
    name = workload.name
    yield from _metrics(
        name,
        (record.before.name, workload.before_metrics),
        (record.after.name, workload.after_metrics),
    )
    if workload.after_problem and not workload.before_problem:
        sentence = f"{name}: {record.after.name} has no times ({workload.after_problem})."
        yield reason(name, Kind.MISSING, sentence)
    elif workload.before_problem and not workload.after_problem:
        sentence = f"{name}: {record.before.name} has no times ({workload.before_problem})."
        yield reason(name, Kind.NEW, sentence)
    elif workload.after_problem:
        sentence = f"{name}: neither side has times ({workload.after_problem})."
        yield reason(name, Kind.NOT_COMPARED, sentence)
    else:
        found = compare_times(workload.pairs)
        kinds = {
            Finding.SLOWER: Kind.SLOWER,
            Finding.FASTER: Kind.FASTER,
            Finding.UNDECIDED: Kind.UNDECIDED,
        }
        if found.finding in kinds and found.interval is not None:
            sentence = (
                f"{name}: {record.after.name} takes {ratio_words(found.interval)} the time of "
                f"{record.before.name}"
            )
            ending = ", which decides nothing." if found.finding is Finding.UNDECIDED else "."
            yield reason(name, kinds[found.finding], sentence + ending)


def _against_accepted(
    record: TimeRecord, workload: Workload, accepted: Workload | None, elsewhere: bool
) -> Iterator[Reason]:
    name = workload.name
    if accepted is None or not accepted.pairs:
        if workload.pairs:
            yield reason(name, Kind.NEW, f"{name}: the baseline has no times of it.")
        return
    yield from _metrics(
        name,
        ("the baseline", accepted.after_metrics),
        (record.after.name, workload.after_metrics),
    )
    if not workload.pairs:
        return  # the caller names what is missing
    now, then = interval_of(workload.pairs), interval_of(accepted.pairs)
    allowed = TIME_RATIO_ELSEWHERE if elsewhere else TIME_RATIO
    sentence = (
        f"{name}: {record.after.name} takes {ratio_words(now)} the time of {record.before.name}, "
        f"in the baseline {ratio_words(then)}"
    )
    sentence += ", on another machine." if elsewhere else "."
    if now.low > then.high * allowed.value:
        yield reason(name, Kind.SLOWER, sentence)
    elif now.high * allowed.value < then.low:
        yield reason(name, Kind.FASTER, sentence)


def _metrics(
    name: str,
    before: tuple[str, dict[str, float] | None],
    after: tuple[str, dict[str, float] | None],
) -> Iterator[Reason]:
    """What changed in the deterministic figures of two sides, each with its name."""
    (before_name, before_figures), (after_name, after_figures) = before, after
    if before_figures is None or after_figures is None:
        return
    for metric, value in before_figures.items():
        if metric not in after_figures:
            sentence = f"{name}: {after_name} has no {metric}."
            yield reason(name, Kind.MISSING, sentence)
        elif after_figures[metric] != value:
            rose = after_figures[metric] > value
            sentence = (
                f"{name}: {metric} {'rose' if rose else 'fell'} from {value:.9g} "
                f"({before_name}) to {after_figures[metric]:.9g} ({after_name})."
            )
            yield reason(name, Kind.METRIC_ROSE if rose else Kind.IMPROVED, sentence)
