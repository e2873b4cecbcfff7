"""Linear quantization of the activations of an ML program, calibrated without a Mac."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy.typing as npt

from coreml_assay.mil.images import image_inputs
from coreml_assay.mil.program import IOS17, Model, build_model, load_program
from coreml_assay.optimize.coreml.activation_pairs import (
    quantize_activations,
    tensors_to_calibrate,
)
from coreml_assay.optimize.coreml.calibration import calibrate
from coreml_assay.optimize.coreml.config import (
    OpLinearQuantizerConfig,
    OptimizationConfig,
    check_linear,
)
from coreml_assay.optimize.coreml.report import CompressionReport
from coreml_assay.optimize.coreml.selection import report_unmatched

# A dictionary of input name to array or Pillow image, or the only input's array or image itself.
Sample = Mapping[str | None, Any] | npt.ArrayLike

_WITHOUT_EFFECT = ("granularity", "block_size", "weight_threshold")


def linear_quantize_activations(
    mlmodel: Model,
    config: OptimizationConfig,
    sample_data: Iterable[Sample],
    calibration_op_group_size: int = -1,
    *,
    report: CompressionReport | None = None,
) -> Model:
    """Put quantize/dequantize pairs around ops, with scales from running the model on samples.

    The inputs and results of conv, linear, avg_pool, max_pool and add are quantized to 8 bits,
    one scale for each tensor. The ranges are the lowest and highest values over all samples, in
    any order; they are calculated with PyTorch, on any machine.

    Source: API reference of ``coremltools.optimize.coreml.linear_quantize_activations``.

    Args:
        mlmodel: an ``MLModel`` of type mlprogram with one function; it is not changed.
        config: which ops, and how: by an op's name, else its type, else the global configuration;
            ops without one are left as they are. ``mode`` and ``dtype`` (int8 or uint8) count,
            and the other options have no effect.
        sample_data: dictionaries of input name to array, each of the input's shape and kind; for
            a model with one input the name may be None, or the array stand by itself. An input
            that takes images is given as a Pillow image of its color space, or as the array that
            the program takes. They are gone through once, so a generator can bring more than fits
            into memory; a terminal shows how many are done.
        calibration_op_group_size: -1 or positive. coremltools observes so many ops in one go;
            here all are observed in one, and it makes no difference.
        report: filled in with what was quantized, what was not and why.

    Returns:
        A new ``MLModel`` for iOS17 or newer.

    Raises:
        TypeError: ``mlmodel`` is not an ML program; ``sample_data`` cannot be iterated over, or
            holds what is neither a dictionary nor an array.
        ValueError: a wrong argument; several functions; 4 bits; no samples; a sample with a wrong
            name, shape or kind, with NaN or with infinity.
        ImportError: PyTorch is not installed.
        UnsupportedOperation: the model holds an operation that cannot be evaluated.
        EvaluationError: the model cannot be run on a sample.
    """
    check_linear(config, "linear_quantize_activations")
    _check_options(config)
    if not isinstance(calibration_op_group_size, int) or (
        calibration_op_group_size < 1 and calibration_op_group_size != -1
    ):
        raise ValueError(
            "calibration_op_group_size must be -1 or a positive integer, "
            f"got {calibration_op_group_size!r}"
        )
    report = CompressionReport() if report is None else report
    program = load_program(mlmodel, at_least=IOS17)
    report_unmatched(config, program, report)
    ranges = calibrate(program, sample_data, tensors_to_calibrate(program), image_inputs(mlmodel))
    quantize_activations(program, config, ranges, report)
    return build_model(program, like=mlmodel, at_least=IOS17)


def _check_options(config: OptimizationConfig) -> None:
    """Refuse 4 bits, and warn of each option that is set and means nothing for activations."""
    entries = [entry for entry in config.op_configs() if isinstance(entry, OpLinearQuantizerConfig)]
    for entry in entries:
        if entry.nbits != 8:
            raise ValueError(
                f"activations can be quantized to int8 or uint8 only, got {entry.grid.name}"
            )
    defaults = {field.name: field.default for field in attrs.fields(OpLinearQuantizerConfig)}
    for option in _WITHOUT_EFFECT:
        if any(getattr(entry, option) != defaults[option] for entry in entries):
            warnings.warn(
                f"{option} has no effect on the quantization of activations, "
                "which is per tensor for tensors of any size",
                UserWarning,
                stacklevel=3,
            )
