"""The installed coremltools."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import coremltools
import coremltools.optimize as cto
import numpy as np
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

from coreml_assay.implementations.protocol import WeightSpec
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array


class CoreMLTools:
    """coremltools.optimize, as installed."""

    name = "coremltools"
    version = coremltools.__version__
    optimize: Any = cto

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight by the function that coremltools' own pass calls; see `TensorFace`."""
        if np.isinf(weight).any():
            raise ValueError("coremltools' pass leaves weights with infinities as they are")
        result = linear_quantize_weights.blockwise_compress(
            weight,
            nbits=spec.grid.bits,
            mode="LINEAR_SYMMETRIC" if spec.grid.symmetric else "LINEAR",
            signed=spec.grid.signed,
            block_sizes=list(spec.block_shape),
        )
        if result is None:
            raise ValueError(f"blocks of {spec.block_shape} do not fit shape {weight.shape}")
        return QuantizedWeight(result.data, result.scale, result.offset)

    def predicting(self) -> AbstractContextManager[None]:
        """A block in which coremltools predicts by the evaluator, with no need of Core ML."""
        from coreml_assay.mil.prediction import evaluated_predictions  # needs torch

        return evaluated_predictions()
