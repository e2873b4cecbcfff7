"""coreai-opt: the fake quantizer that its Quantizer puts on weights."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import torch
from coreai_opt.config.spec import CompressionTargetTensor
from coreai_opt.quantization.spec import (
    PerBlockGranularity,
    QuantizationComponentFactory,
    QuantizationScheme,
    QuantizationSpec,
)

from coreml_assay.implementations.protocol import Unsupported, WeightSpec
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array


class CoreAIOpt:
    """coreai-opt, as installed."""

    name = "coreai-opt"
    version = importlib.metadata.version("coreai-opt")

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight; see `TensorFace`.

        Symmetric codes are those of "symmetric_with_clipping", the scheme that gives up a code.
        """
        grid = spec.grid
        if grid.symmetric and not grid.signed:
            raise Unsupported("coreai-opt's scheme that gives up a code has signed codes")
        scheme = QuantizationScheme
        quantizer = QuantizationComponentFactory.create_fake_quantizer(
            QuantizationSpec(
                dtype=getattr(torch, grid.name),
                qscheme=scheme.SYMMETRIC_WITH_CLIPPING if grid.symmetric else scheme.ASYMMETRIC,
                granularity=PerBlockGranularity(
                    block_size=tuple(size or -1 for size in spec.block_shape)
                ),
            ),
            CompressionTargetTensor.WEIGHT,
        )
        w = torch.from_numpy(np.array(weight, order="C"))
        scale, zero_point, minval = quantizer.qparams_calculator(w)
        codes = quantizer.quantize(w, scale, zero_point, minval)
        zeros = zero_point.numpy().astype(grid.dtype) if grid.stores_zero_point else None
        return QuantizedWeight(codes.numpy().astype(grid.dtype), scale.numpy(), zeros)
