"""One quantized model against the same one in the baseline."""

from __future__ import annotations

from collections.abc import Iterator

from coreml_assay.gate.reasons import Kind, Reason, model_subject, reason
from coreml_assay.gate.tolerances import SNR
from coreml_assay.gate.words import figure
from coreml_assay.records import ModelRun


def compare_models(new: ModelRun | None, old: ModelRun | None) -> Iterator[Reason]:
    """What is worse, better or different in a model run; either side may be absent."""
    if new is None:
        if old is not None:
            subject = model_subject(old)
            yield reason(
                subject,
                Kind.MISSING,
                f"{_what(old, old)} is in the baseline and missing from the record.",
            )
    elif old is None:
        yield reason(model_subject(new), Kind.NEW, f"{_what(new, new)} is not in the baseline.")
    elif new.error is None and old.error is not None:
        yield reason(
            model_subject(new),
            Kind.IMPROVED,
            f"{_what(new, old)} works; before, it ended with an error: {old.error}",
        )
    elif new.model_sha256 != old.model_sha256:
        yield reason(
            model_subject(new),
            Kind.MODEL_REPLACED,
            f"{_what(new, old)} cannot be compared: the model file is not the baseline's.",
        )
    elif new.error is None:
        yield from _compare_results(new, old)


def _what(new: ModelRun, old: ModelRun) -> str:
    version = new.version
    if new.version != old.version:
        version = f"{new.version} ({old.version} in the baseline)"
    return f"{new.implementation} {version} on {new.model} with {new.configuration}"


def _compare_results(new: ModelRun, old: ModelRun) -> Iterator[Reason]:
    found = [
        *_compare_sizes(new, old),
        *_compare_weights(new, old),
        *_compare_operations(new, old),
        *_compare_snr(new, old),
        *_compare_measured(new, old),
    ]
    yield from found
    if not found and new.program_sha256 != old.program_sha256:
        yield reason(
            model_subject(new),
            Kind.CHANGED,
            f"{_what(new, old)} writes another program than before, "
            "with the same size, operations and accuracy.",
        )


def _compare_sizes(new: ModelRun, old: ModelRun) -> Iterator[Reason]:
    if not new.bytes or not old.bytes or new.bytes == old.bytes:
        return
    grew = new.bytes > old.bytes
    yield reason(
        model_subject(new),
        Kind.SIZE_GREW if grew else Kind.IMPROVED,
        f"The package written by {_what(new, old)} {'grew' if grew else 'shrank'} "
        f"from {old.bytes:,} to {new.bytes:,} bytes.",
    )


def _compare_weights(new: ModelRun, old: ModelRun) -> Iterator[Reason]:
    now, before = set(new.compressed), set(old.compressed)
    for weight in sorted(before - now):
        because = new.skipped.get(weight, "no reason is recorded")
        yield reason(
            model_subject(new),
            Kind.WEIGHT_NOT_COMPRESSED,
            f"{_what(new, old)} no longer compresses the weight {weight}: {because}",
        )
    for weight in sorted(now - before):
        yield reason(
            model_subject(new),
            Kind.IMPROVED,
            f"{_what(new, old)} now compresses the weight {weight}.",
        )


def _compare_operations(new: ModelRun, old: ModelRun) -> Iterator[Reason]:
    if not new.operations or not old.operations:
        return
    changes = [
        f"{kind} {old.operations.get(kind, 0):,} to {new.operations.get(kind, 0):,}"
        for kind in sorted(new.operations.keys() | old.operations.keys())
        if new.operations.get(kind, 0) != old.operations.get(kind, 0)
    ]
    if changes:
        yield reason(
            model_subject(new),
            Kind.OPERATIONS_CHANGED,
            f"The operations in the program written by {_what(new, old)} changed: "
            f"{', '.join(changes)}.",
        )


def _compare_snr(new: ModelRun, old: ModelRun) -> Iterator[Reason]:
    now, before = new.weight_snr_db, old.weight_snr_db
    if now is None or before is None:
        return
    lower = now < before - SNR.value
    if lower or now > before + SNR.value:
        yield reason(
            model_subject(new),
            Kind.SNR_FELL if lower else Kind.IMPROVED,
            f"The weights' signal-to-noise ratio from {_what(new, old)} "
            f"{'fell' if lower else 'rose'} from {figure(before, 'dB', 3)} "
            f"to {figure(now, 'dB', 3)}.",
        )


def _compare_measured(new: ModelRun, old: ModelRun) -> Iterator[Reason]:
    figures = {
        "package size": (bool(new.bytes), bool(old.bytes)),
        "operations": (bool(new.operations), bool(old.operations)),
        "signal-to-noise ratio": (
            new.weight_snr_db is not None,
            old.weight_snr_db is not None,
        ),
        "worst error": (
            new.worst_error_in_steps is not None,
            old.worst_error_in_steps is not None,
        ),
    }
    for name, (measured, measured_before) in figures.items():
        if measured_before and not measured:
            yield reason(
                model_subject(new),
                Kind.FIGURE_LOST,
                f"The {name} from {_what(new, old)} used to be measured and was not measured.",
            )
