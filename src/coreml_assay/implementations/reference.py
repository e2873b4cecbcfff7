"""The reference implementation, as something to put under test."""

from __future__ import annotations

from typing import Any

import coreml_assay
from coreml_assay import optimize
from coreml_assay.implementations.protocol import WeightSpec
from coreml_assay.numerics import QuantizedWeight, round_to_nearest
from coreml_assay.numerics.blocks import Array


class Reference:
    """coreml-assay's own implementation."""

    name = "reference"
    version = coreml_assay.__version__
    optimize: Any = optimize

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight; see `TensorFace`."""
        return round_to_nearest(weight, spec.grid, spec.block_shape)
