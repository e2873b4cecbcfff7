"""The reference implementation, as something to put under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import coreml_assay
from coreml_assay import optimize
from coreml_assay.implementations.protocol import CalibratedWeightSpec, Unsupported, WeightSpec
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

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a weight under calibration inputs; see `CalibratedTensorFace`."""
        try:
            import torch

            from coreml_assay.numerics.gptq import GPTQSpec, Hessian, quantize
        except ModuleNotFoundError as error:
            raise Unsupported("GPTQ needs torch") from error
        rows_each, block = spec.block_shape
        if spec.grid.signed or rows_each != 1:
            raise Unsupported("GPTQ has unsigned codes, and scales that belong to one row")
        hessian = Hessian(weight.shape[1])
        for batch in inputs:
            hessian.update(torch.from_numpy(np.array(batch)))
        found = quantize(
            torch.from_numpy(np.array(weight)),
            hessian,
            GPTQSpec(
                spec.grid,
                block_columns=block or None,
                activation_order=spec.activation_order,
                processing_group_size=spec.processing_group_size,
                hessian_dampening=spec.hessian_dampening,
            ),
        )
        zero_point = found.zero_point.numpy().astype(spec.grid.dtype)
        return QuantizedWeight(found.codes.numpy(), found.scale.numpy(), zero_point)
