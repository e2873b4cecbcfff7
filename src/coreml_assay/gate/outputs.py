"""Accuracy of outputs: on its own, relative to the float model, and against the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coreml_assay.gate.reasons import Kind, Reason, accuracy_subject, reason
from coreml_assay.gate.tolerances import METRICS, OUTPUT_SNR, TRAINED_SNR
from coreml_assay.gate.words import NOT_MEASURED, count, figure
from coreml_assay.records import AccuracyRun, OutputError

_JUDGED_BITS = 8  # with fewer, what is lost is the configuration's price, not a mistake


def loss(run: AccuracyRun) -> float | None:
    """How much of the task metric was lost against the float model; None where not measured."""
    if run.float_score is None or run.score is None:
        return None
    return run.float_score - run.score


def loses(run: AccuracyRun) -> bool:
    """Whether a run ended with an error or lost more than is right at its number of bits."""
    return bool(list(_findings(run)))


def accuracy_reasons(run: AccuracyRun) -> Iterator[Reason]:
    """What is wrong with a run whatever the baseline; a known loss is wrong once it is gone."""
    if not run.known:
        yield from _findings(run)
    elif not loses(run):
        yield reason(
            accuracy_subject(run),
            Kind.LOSS_GONE,
            f"{_what(run)} loses nothing, although a loss is listed as known "
            f"({run.known}); remove the entry.",
        )


def _findings(run: AccuracyRun) -> Iterator[Reason]:
    subject = accuracy_subject(run)
    if run.error is not None:
        yield reason(subject, Kind.MODEL_ERROR, f"{_what(run)} ended with an error: {run.error}")
        return
    for output in run.outputs:
        if output.non_finite and run.bits >= _JUDGED_BITS:
            yield reason(
                subject,
                Kind.ACCURACY_LOST,
                f"{_what(run)} gives {count(output.non_finite, 'value')} of output "
                f"{output.output} that are NaN or infinite and should not be.",
            )
    lost, allowed = loss(run), _allowed(run)
    if lost is not None and run.bits >= _JUDGED_BITS and lost > allowed:
        yield reason(
            subject,
            Kind.ACCURACY_LOST,
            f"{_what(run)}: {run.metric} fell from {_score(run.float_score)} (float) to "
            f"{_score(run.score)}; {allowed:g} less is allowed.",
        )


def _allowed(run: AccuracyRun) -> float:
    """The tolerance of the run's metric; none for a metric that is not in the table."""
    return METRICS[run.metric].value if run.metric in METRICS else 0.0


def compare_accuracy(new: AccuracyRun | None, old: AccuracyRun | None) -> Iterator[Reason]:
    """What is worse, better or different in a run; either side may be absent."""
    if new is None:
        if old is not None:
            yield reason(
                accuracy_subject(old),
                Kind.MISSING,
                f"{_what(old)} is in the baseline and missing from the record.",
            )
    elif old is None:
        yield reason(accuracy_subject(new), Kind.NEW, f"{_what(new)} is not in the baseline.")
    elif new.model_sha256 != old.model_sha256 and not (new.trained and old.trained):
        yield reason(
            accuracy_subject(new),
            Kind.MODEL_REPLACED,
            f"{_what(new)} cannot be compared: the model is not the baseline's.",
        )
    elif new.error is None and old.error is None:
        yield from _compare_loss(new, old)
        yield from _compare_outputs(new, old)
    elif new.error is None:
        yield reason(
            accuracy_subject(new),
            Kind.IMPROVED,
            f"{_what(new)} works; before, it ended with an error: {old.error}",
        )
    elif old.error is None:
        yield reason(
            accuracy_subject(new), Kind.FIGURE_LOST, f"{_what(new)} used to work: {new.error}"
        )


def _compare_loss(new: AccuracyRun, old: AccuracyRun) -> Iterator[Reason]:
    now, before = loss(new), loss(old)
    if before is None:
        return
    if now is None or new.metric != old.metric:
        yield reason(
            accuracy_subject(new),
            Kind.FIGURE_LOST,
            f"{old.metric} of {_what(new)} used to be measured and was not measured.",
        )
    elif abs(now - before) > _allowed(new):
        yield reason(
            accuracy_subject(new),
            Kind.ACCURACY_LOST if now > before else Kind.IMPROVED,
            f"{_what(new)}: {new.metric} is {now:.3f} below the float model's; "
            f"in the baseline it was {before:.3f} below.",
        )


def _compare_outputs(new: AccuracyRun, old: AccuracyRun) -> Iterator[Reason]:
    found = {output.output: output for output in new.outputs}
    retrained = new.model_sha256 != old.model_sha256
    allowed = TRAINED_SNR.value if retrained else OUTPUT_SNR.value
    for before in old.outputs:
        now = found.get(before.output)
        if now is None:
            yield reason(
                accuracy_subject(new),
                Kind.FIGURE_LOST,
                f"Output {before.output} of {_what(new)} used to be measured and was not.",
            )
            continue
        change = _change(now, before)
        if abs(change) > allowed:
            yield reason(
                accuracy_subject(new),
                Kind.SNR_FELL if change < 0 else Kind.IMPROVED,
                f"The signal-to-noise ratio of output {before.output} of {_what(new)} "
                f"{'fell' if change < 0 else 'rose'} from {snr_words(before)} to {snr_words(now)}.",
            )


def _change(now: OutputError, before: OutputError) -> float:
    """By how many dB an output is better; equal outputs are better than any, NaN is worse."""
    order = _rank(now), _rank(before)
    return 0.0 if order[0] == order[1] else order[0] - order[1]


def _rank(output: OutputError) -> float:
    if output.snr_db is not None:
        return output.snr_db
    return float("inf") if output.largest == 0 else float("-inf")


def worst_snr(outputs: Sequence[OutputError]) -> float | None:
    """The ratio of the worst of a model's outputs in dB; None where it has none."""
    return min(outputs, key=_rank).snr_db if outputs else None


def worst_snr_words(outputs: Sequence[OutputError]) -> str:
    """The signal-to-noise ratio of the worst of a model's outputs."""
    return snr_words(min(outputs, key=_rank)) if outputs else NOT_MEASURED


def snr_words(output: OutputError) -> str:
    """An output's signal-to-noise ratio, or what stands in its place."""
    if output.non_finite:
        return "not finite"
    if output.largest == 0:
        return "equal"
    return "no signal" if output.snr_db is None else figure(output.snr_db, "dB", 1)


def _score(value: float | None) -> str:
    return figure(value, digits=3)


def _what(run: AccuracyRun) -> str:
    return f"{run.implementation} {run.version} on {run.model} with {run.configuration}"
