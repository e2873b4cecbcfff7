"""Latency: what a record holds of it, in rows, and what is wrong with it whatever the baseline.

Figures of a device and of the evaluator never share a table. Where no device was measured, the
device's table says so for everything that would be in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coreml_assay.gate.outputs import worst_snr_words
from coreml_assay.gate.reasons import Kind, Reason, latency_subject, reason
from coreml_assay.gate.tolerances import DEVICE_SNR
from coreml_assay.gate.words import NOT_MEASURED, count, figure
from coreml_assay.latency.filing import QUANTILES, quantile_seconds
from coreml_assay.latency.protocol import is_neural_engine, neural_engine_shares
from coreml_assay.latency_records import DEVICE_UNITS
from coreml_assay.records import LatencyResult, Record


@dataclass(frozen=True)
class LatencyRow:
    """One case on one choice of compute units; without a result it was not measured."""

    model: str
    configuration: str
    compute_units: str
    result: LatencyResult | None

    @property
    def figures(self) -> tuple[str, ...]:
        """The quantiles in words, in the order of `QUANTILES`."""
        if self.result is None:
            return (NOT_MEASURED,) * len(QUANTILES)
        run = self.result.run
        return tuple(figure(1000 * quantile_seconds(run, name), "ms", 3) for name in QUANTILES)

    @property
    def load(self) -> str:
        """The first load in words."""
        return figure(None if self.result is None else self.result.run.load_ns / 1e6, "ms", 1)

    @property
    def place(self) -> str:
        """Where it ran, as far as the plan says."""
        return NOT_MEASURED if self.result is None else place_words(self.result)

    @property
    def cosine(self) -> str:
        """The same as the smallest cosine of an output's angle, where there is one."""
        outputs = () if self.result is None else self.result.float32
        return figure(min((e.cosine for e in outputs if e.cosine is not None), default=None), "", 6)

    @property
    def outputs(self) -> str:
        """How far the worst output is from the evaluator's in float32."""
        return worst_snr_words(() if self.result is None else self.result.float32)


def place_words(result: LatencyResult) -> str:
    """Where a run's operations were planned; Neural Engine only from the stated share on."""
    placement = result.run.placement
    if placement is None:
        return "evaluator, on a CPU; no device"
    by_count, by_cost = neural_engine_shares(placement)
    shares = (
        f"{_percent(by_count)} of operations, {_percent(by_cost)} of estimated cost on the "
        "Neural Engine"
    )
    return f"{'Neural Engine' if is_neural_engine(placement) else 'not Neural Engine'}: {shares}"


def _percent(share: float | None) -> str:
    return NOT_MEASURED if share is None else f"{100 * share:.0f} %"


def device_name(result: LatencyResult) -> str:
    """A device with its system, named as a heading."""
    device = result.device
    return f"{device.name}, {device.kind}, {device.os_version} ({device.os_build})"


def device_groups(record: Record) -> dict[str, list[LatencyRow]]:
    """Rows by device; where none was measured, each case under the words that say so."""
    groups: dict[str, list[LatencyRow]] = {}
    for result in record.latency:
        if result.backend == "coreml":
            groups.setdefault(device_name(result), []).append(_row(result))
    if not groups and record.latency:
        cases = dict.fromkeys((each.run.model, each.run.configuration) for each in record.latency)
        groups[f"Devices: {NOT_MEASURED}"] = [
            LatencyRow(*case, units, None) for case in cases for units in DEVICE_UNITS
        ]
    return groups


def evaluator_rows(record: Record) -> list[LatencyRow]:
    """What the evaluator measured of itself."""
    return [_row(result) for result in record.latency if result.backend == "evaluator"]


def _row(result: LatencyResult) -> LatencyRow:
    run = result.run
    return LatencyRow(run.model, run.configuration, run.compute_units, result)


def latency_reasons(result: LatencyResult) -> Iterator[Reason]:
    """Answers that are wrong on some compute units, which is a known failure of devices."""
    for output in result.float32:
        what = f"Output {output.output} of {latency_subject(result)}"
        if output.non_finite:
            yield reason(
                latency_subject(result),
                Kind.ACCURACY_LOST,
                f"{what} has {count(output.non_finite, 'value')} that are NaN or infinite and "
                "should not be.",
            )
        elif output.snr_db is None and output.largest:
            yield reason(
                latency_subject(result),
                Kind.ACCURACY_LOST,
                f"{what} should be zero, and is up to {output.largest:.4g}.",
            )
        elif output.snr_db is not None and output.snr_db < DEVICE_SNR.value:
            yield reason(
                latency_subject(result),
                Kind.ACCURACY_LOST,
                f"{what} is wrong: its signal-to-noise ratio against the evaluator is "
                f"{output.snr_db:.1f} dB, cosine {figure(output.cosine, '', 4)}; "
                f"{DEVICE_SNR.value:g} dB is the least.",
            )
