"""The installed coremltools."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import coremltools
import coremltools.optimize as cto
import numpy as np
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

from coreml_assay.implementations.protocol import CalibratedWeightSpec, Unsupported, WeightSpec
from coreml_assay.implementations.torch_models import torch_weights
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

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a weight by coremltools' GPTQ for a linear layer; see `CalibratedTensorFace`."""
        rows_each, block = spec.block_shape
        if spec.grid.signed or rows_each != 1:
            raise Unsupported("coremltools' GPTQ has unsigned codes, and a scale for each row")
        torch = _installed("torch")
        algorithms = _installed("coremltools.optimize.torch.layerwise_compression.algorithms")
        rows, columns = weight.shape
        layer = torch.nn.Linear(columns, rows, bias=False).requires_grad_(False)
        layer.weight.data = torch.from_numpy(np.array(weight))
        config = algorithms.ModuleGPTQConfig(
            weight_dtype=spec.grid.name,
            granularity="per_block" if block else "per_channel",
            quantization_scheme="symmetric" if spec.grid.symmetric else "affine",
            block_size=block or None,
            hessian_dampening=spec.hessian_dampening,
            use_activation_order_heuristic=spec.activation_order,
            processing_group_size=spec.processing_group_size,
        )
        algorithm = algorithms.GPTQ(layer, config)
        for batch in inputs:
            x = torch.from_numpy(np.array(batch))
            algorithm.add_batch(x, layer(x))
        algorithm.compress()
        found = torch_weights(layer)["weight"]
        assert found.scale is not None
        assert found.zero_point is not None
        codes, zero_point = (
            each.astype(spec.grid.dtype) for each in (found.codes, found.zero_point)
        )
        return QuantizedWeight(codes, found.scale, zero_point)


def _installed(module: str) -> Any:
    """A module that needs torch."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Unsupported("coremltools' GPTQ needs torch") from error
