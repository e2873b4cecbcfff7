"""Golden cases of LinearQuantizer, made with real coremltools."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from coreml_assay.goldens.linear_quantizer import CalibratedCase, LinearQuantizerCases
from coreml_assay.goldens.store import GoldenError
from coreml_assay.implementations import Face, faces
from coreml_assay.implementations.linear_quantizing import (
    Calibrated,
    activation_parameters,
    calibrate,
    convert,
    layer_weights,
    placement,
    shared_quantizers,
)
from coreml_assay.implementations.trainable_model import TrainableModel
from coreml_assay.implementations.trainable_models import MODELS
from coreml_assay.mil.structure import constants, structure
from coreml_assay.numerics.blocks import Array

_LATER = ("algorithm", "ema_min_max")  # options that came with 8.3.0, both together


def linear_quantizer_cases(coremltools: Any, arrays: dict[str, Array]) -> LinearQuantizerCases:
    """Calibrate, finalize and convert every trainable model with coremltools.

    A version before 8.3.0 has no cases of the models whose configuration it does not know.

    Args:
        coremltools: the implementation.
        arrays: the arrays of the cases are added to it.

    Raises:
        GoldenError: torch is not installed.
    """
    if Face.TORCH not in faces(coremltools):
        raise GoldenError("torch is not installed: pip install coreml-assay[torch]")
    quantization = coremltools.optimize.torch.quantization
    offers_all = hasattr(quantization.ModuleLinearQuantizerConfig(), "algorithm")
    return LinearQuantizerCases(
        calibrated=tuple(
            _case(name, entry, calibrate(quantization, entry), arrays)
            for name, entry in MODELS.items()
            if offers_all or not any(option in repr(entry.config) for option in _LATER)
        )
    )


def _case(
    name: str, entry: TrainableModel, calibrated: Calibrated, arrays: dict[str, Array]
) -> CalibratedCase:
    parameters = activation_parameters(calibrated.prepared)
    for quantizer, found in parameters.items():
        arrays[f"{name}/{quantizer}.scale"] = found.scale
        arrays[f"{name}/{quantizer}.zero_point"] = found.zero_point.astype(np.int64)
    weights = layer_weights(calibrated)
    for layer, weight in weights.items():
        arrays[f"{name}/{layer}.codes"] = weight.codes.astype(np.int16)
        assert weight.scale is not None
        assert weight.zero_point is not None
        arrays[f"{name}/{layer}.scale"] = weight.scale
        arrays[f"{name}/{layer}.zero_point"] = weight.zero_point
    try:
        program = convert(entry, calibrated.finalized)
    except ValueError as error:
        lines, refusal = [], str(error)
    else:
        lines, refusal = structure(program), ""
        arrays[f"{name}/program.scales"] = constants(program, "quantize", "scale")
    return CalibratedCase(
        name=name,
        **attrs.asdict(entry),
        placement=tuple(placement(calibrated.prepared)),
        quantizers=tuple(parameters),
        shared=shared_quantizers(calibrated.prepared),
        layers={layer: int(weight.n_bits or 0) for layer, weight in weights.items()},
        program=tuple(lines),
        refusal=refusal,
    )
