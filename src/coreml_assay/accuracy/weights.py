"""Real models through weight quantization: sizes, errors of weights, and the program written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from coreml_assay.accuracy.models import package_bytes, package_sha256
from coreml_assay.implementations import Implementation
from coreml_assay.mil.describe import digest, operation_counts
from coreml_assay.mil.program import (
    IOS18,
    Model,
    load_program,
    open_package,
    retarget,
    save_package,
    target_name,
)
from coreml_assay.mil.stored import StoredWeight, stored_weights
from coreml_assay.numerics.blocks import split_shape, spread
from coreml_assay.records import ModelRun


@attrs.frozen
class WeightConfiguration:
    """One way to quantize a whole model.

    Attributes:
        name: for reports.
        options: of an OpLinearQuantizerConfig.
        needs_ios18: whether the program has to be emitted for iOS18 first.
    """

    name: str
    options: dict[str, Any]
    needs_ios18: bool = False


CONFIGURATIONS = (
    WeightConfiguration("int8 per channel", {}),
    WeightConfiguration("uint8 linear", {"dtype": "uint8", "mode": "linear"}),
    WeightConfiguration("int8 per tensor", {"granularity": "per_tensor"}),
    WeightConfiguration("int4 per channel", {"dtype": "int4"}, needs_ios18=True),
    WeightConfiguration(
        "int4 per block 8",
        {"dtype": "int4", "granularity": "per_block", "block_size": 8},
        needs_ios18=True,
    ),
)


def quantize_with(implementation: Any, model: Model, configuration: WeightConfiguration) -> Model:
    """Quantize a model by an implementation's Core ML face."""
    coreml = implementation.optimize.coreml
    op_config = coreml.OpLinearQuantizerConfig(**configuration.options)
    return coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=op_config))


def prepare(model: Model, configuration: WeightConfiguration) -> Model:
    """The model as the configuration needs it: for iOS18 where it does."""
    version = model.get_spec().specificationVersion
    return retarget(model, IOS18) if configuration.needs_ios18 and version < IOS18 else model


def measure(
    name: str, package: Path, configuration: WeightConfiguration, implementation: Implementation
) -> ModelRun:
    """Quantize one real model, write it, read it back, and compare its weights.

    Args:
        name: of the model, for the record.
        package: an ``.mlpackage``.
        configuration: how to quantize it.
        implementation: one with a Core ML face.

    Returns:
        The figures; a failure of the implementation is in ``error``.

    Raises:
        PackageError: the package itself cannot be read.
    """
    plain = prepare(open_package(package), configuration)
    before = stored_weights(load_program(plain))
    version = plain.get_spec().specificationVersion
    common: dict[str, Any] = {
        "model": name,
        "model_sha256": package_sha256(package),
        "configuration": configuration.name,
        "target": target_name(version),
        "implementation": implementation.name,
        "version": implementation.version,
        "float_bytes": package_bytes(package),
    }
    try:
        quantized = quantize_with(implementation, plain, configuration)
        return ModelRun(**common, **_figures(before, quantized))
    except Exception as error:  # whatever an implementation raises belongs in the record
        return ModelRun(**common, error=f"{type(error).__name__}: {error}".split("\n", 1)[0])


def _figures(before: dict[str, StoredWeight], quantized: Model) -> dict[str, Any]:
    program = load_program(quantized)
    after = stored_weights(program)
    compressed = [name for name, weight in after.items() if weight.is_quantized]
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "quantized.mlpackage"
        save_package(quantized, package)
        reread = digest(load_program(open_package(package)))
        size = package_bytes(package)
    return {
        "compressed": tuple(compressed),
        "skipped": _skipped(before, after),
        "bytes": size,
        "operations": operation_counts(program),
        "weight_snr_db": weight_snr(before, after),
        "worst_error_in_steps": worst_error(before, after),
        "reloads": reread == digest(program),
        "program_sha256": digest(program),
    }


def _skipped(before: dict[str, StoredWeight], after: dict[str, StoredWeight]) -> dict[str, str]:
    """Matrices left as they are, with what is known of the reason from the outside."""
    return {
        name: f"left as {weight.values.dtype} of shape {weight.values.shape}"
        for name, weight in after.items()
        if not weight.is_quantized
        and weight.values.ndim >= 2
        and weight.values.size >= 10
        and np.issubdtype(weight.values.dtype, np.floating)
        and name in before
    }


def weight_snr(before: dict[str, StoredWeight], after: dict[str, StoredWeight]) -> float | None:
    """Signal-to-noise ratio, in dB, over all quantized weights together.

    None where nothing was quantized or nothing changed: there is no noise to speak of.
    """
    signal = noise = 0.0
    for name, weight in after.items():
        if weight.is_quantized:
            original = before[name].values.astype(np.float64)
            signal += float(np.square(original).sum())
            noise += float(np.square(original - weight.values.astype(np.float64)).sum())
    return 10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None


def worst_error(before: dict[str, StoredWeight], after: dict[str, StoredWeight]) -> float | None:
    """The largest distance of a weight from what its code stands for, in steps of its scale.

    None where nothing was quantized.

    Raises:
        ValueError: a block with scale 0 whose weights are not all zero.
    """
    worst = None
    for name, weight in after.items():
        if weight.scale is None or weight.codes is None:
            continue
        original = before[name].values.astype(np.float64)
        split = split_shape(original.shape, weight.scale.shape)
        scale = spread(weight.scale.astype(np.float64))
        # Codes times scale in float64: the rounding of the stored dtype is not the quantizer's.
        zero = 0 if weight.zero_point is None else spread(weight.zero_point.astype(np.float64))
        restored = (weight.codes.astype(np.float64).reshape(split) - zero) * scale
        error = np.abs(original.reshape(split) - restored)
        if (error[np.broadcast_to(scale == 0, split)] > 0).any():
            raise ValueError(f"{name}: a scale of 0 stands for weights that are not zero")
        steps = np.divide(error, scale, out=np.zeros_like(error), where=scale != 0)
        worst = max(worst or 0.0, float(steps.max(initial=0)))
    return worst
