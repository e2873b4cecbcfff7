"""Latency against a baseline's: the same case on the same device, by ratio with its interval.

Neighbouring predictions share their luck, so a ratio is taken between medians of ten in a row,
not between single ones, and its interval is the time gate's.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from coreml_assay.gate.latency import place_words
from coreml_assay.gate.reasons import Kind, Reason, latency_subject, reason
from coreml_assay.gate.tolerances import LATENCY_RATIO
from coreml_assay.gate.words import ratio_words
from coreml_assay.latency.protocol import is_neural_engine
from coreml_assay.records import LatencyResult, Record
from coreml_assay.timing.intervals import Interval, ratio_interval

CONFIDENCE = 0.99
_IN_A_ROW = 10


def compare_latency(record: Record, baseline: Record) -> Iterator[Reason]:
    """What is slower, faster, missing or new."""
    found = {_key(result): result for result in record.latency}
    accepted = {_key(result): result for result in baseline.latency}
    for key, old in accepted.items():
        new = found.get(key)
        if new is not None:
            yield from _compare(new, old)
            continue
        subject = latency_subject(old)
        yield reason(
            subject,
            Kind.MISSING,
            f"The latency of {subject} is in the baseline and missing from the record.",
        )
    for key, new in found.items():
        if key not in accepted:
            subject = latency_subject(new)
            yield reason(subject, Kind.NEW, f"The latency of {subject} is not in the baseline.")


def _key(result: LatencyResult) -> tuple[str, ...]:
    """What makes two results comparable; times of two devices are not."""
    run, device = result.run, result.device
    return (result.backend, device.name, run.model, run.configuration, run.compute_units)


def _compare(new: LatencyResult, old: LatencyResult) -> Iterator[Reason]:
    subject = latency_subject(new)
    interval = latency_interval(old, new)
    sentence = (
        f"The latency of {subject} is {ratio_words(interval)} the baseline's{_since(new, old)}."
    )
    if interval.low > LATENCY_RATIO.value:
        yield reason(subject, Kind.SLOWER, sentence)
    elif interval.high < 1 / LATENCY_RATIO.value:
        yield reason(subject, Kind.FASTER, sentence)
    elif interval.high > LATENCY_RATIO.value:
        yield reason(subject, Kind.UNDECIDED, f"{sentence[:-1]}, which decides nothing.")
    if is_neural_engine(old.run.placement) and not is_neural_engine(new.run.placement):
        yield reason(
            subject,
            Kind.OPERATIONS_CHANGED,
            f"{subject} was planned for the Neural Engine in the baseline and is now "
            f"{place_words(new)}.",
        )


def latency_interval(before: LatencyResult, after: LatencyResult) -> Interval:
    """The ratio of two results' latencies, with its interval."""
    medians = [_medians(before), _medians(after)]
    shortest = min(map(len, medians))
    return ratio_interval(medians[0][:shortest], medians[1][:shortest], CONFIDENCE)


def _medians(result: LatencyResult) -> list[float]:
    """Medians of so many predictions in a row, round by round."""
    return [
        statistics.median(each.samples_ns[at : at + _IN_A_ROW])
        for each in result.run.rounds
        for at in range(0, len(each.samples_ns), _IN_A_ROW)
    ]


def _since(new: LatencyResult, old: LatencyResult) -> str:
    """What else changed with it."""
    pairs = {
        "coremltools": (old.coremltools, new.coremltools),
        "OS build": (old.device.os_build, new.device.os_build),
    }
    changes = [f"{name} {a}, now {b}" for name, (a, b) in pairs.items() if a != b]
    return f" ({'; '.join(changes)})" if changes else ""
