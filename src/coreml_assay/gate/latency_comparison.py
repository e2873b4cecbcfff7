"""Latency against a baseline's: the same case on the same device, by ratio with its interval.

Predictions in a row share their luck, so what is paired is the medians of whole rounds; the
interval is the time gate's. Where the sentinel is slower too, so is the machine, and a case has to
be slower by as much more.
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
    machine = sentinel_ratio(old, new)
    sentence = (
        f"The latency of {subject} is {ratio_words(interval)} the baseline's, the sentinel's "
        f"{machine:.3g} times{_since(new, old)}"
    )
    if interval.low > LATENCY_RATIO.value * max(machine, 1):
        yield reason(subject, Kind.SLOWER, f"{sentence}.")
    elif interval.high < min(machine, 1) / LATENCY_RATIO.value:
        yield reason(subject, Kind.FASTER, f"{sentence}.")
    elif interval.high > LATENCY_RATIO.value:
        yield reason(subject, Kind.UNDECIDED, f"{sentence}, which decides nothing.")
    if is_neural_engine(old.run.placement) and not is_neural_engine(new.run.placement):
        yield reason(
            subject,
            Kind.OPERATIONS_CHANGED,
            f"{subject} was planned for the Neural Engine in the baseline and is now "
            f"{place_words(new)}.",
        )


def latency_interval(before: LatencyResult, after: LatencyResult) -> Interval:
    """The ratio of two results' latencies, with its interval."""
    pairs = [
        tuple(statistics.median(each.samples_ns) for each in pair)
        for pair in zip(before.run.rounds, after.run.rounds, strict=False)
    ]
    return ratio_interval([old for old, _ in pairs], [new for _, new in pairs], CONFIDENCE)


def sentinel_ratio(before: LatencyResult, after: LatencyResult) -> float:
    """How much slower the sentinel is, and so the machine."""
    old, new = (
        statistics.median((*each.sentinel.before_ns, *each.sentinel.after_ns))
        for each in (before, after)
    )
    return new / old


def _since(new: LatencyResult, old: LatencyResult) -> str:
    """What else changed with it."""
    pairs = {
        "coremltools": (old.coremltools, new.coremltools),
        "OS build": (old.device.os_build, new.device.os_build),
    }
    changes = [f"{name} {a}, now {b}" for name, (a, b) in pairs.items() if a != b]
    return f" ({'; '.join(changes)})" if changes else ""
