"""torchao: its quantization primitives, and the GPTQ of its prototypes.

The grid of codes is torchao's own for a dtype, as its quantized tensors use it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from torchao.quantization.granularity import PerRow
from torchao.quantization.quant_api import Int8WeightOnlyConfig
from torchao.quantization.quant_primitives import (
    _DTYPE_TO_QVALUE_BOUNDS,
    MappingType,
    choose_qparams_affine,
    quantize_affine,
)

from coreml_assay.implementations.protocol import CalibratedWeightSpec, Unsupported, WeightSpec
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array


class TorchAO:
    """torchao, as installed."""

    name = "torchao"
    version = importlib.metadata.version("torchao")

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight by ``choose_qparams_affine`` and ``quantize_affine``."""
        grid = spec.grid
        block = tuple(
            size or length for size, length in zip(spec.block_shape, weight.shape, strict=True)
        )
        if all(size == 1 for size in block) and weight.size > 1:
            raise Unsupported(
                "torchao fails on blocks of a single weight: it takes one range of all"
            )
        mapping = MappingType.SYMMETRIC if grid.symmetric else MappingType.ASYMMETRIC
        dtype = torch.int8 if grid.signed else torch.uint8
        lowest, highest = _DTYPE_TO_QVALUE_BOUNDS[getattr(torch, grid.name)]
        w = torch.from_numpy(np.array(weight, order="C"))
        scale, zero_point = choose_qparams_affine(
            w, mapping, block, dtype, lowest, highest, keepdim=True
        )
        codes = quantize_affine(w, block, scale, zero_point, dtype, lowest, highest)
        zeros = zero_point.numpy().astype(grid.dtype) if grid.stores_zero_point else None
        return QuantizedWeight(codes.numpy(), scale.numpy(), zeros)

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a weight by ``gptq_quantize``; see `CalibratedTensorFace`.

        A signed code q with zero point 0 is given as the unsigned q + 128 with zero point 128.
        """
        grid = spec.grid
        if not (grid.bits == 8 and grid.symmetric and (grid.signed or grid.all_codes)):
            raise Unsupported("torchao's GPTQ has symmetric codes of 8 bits; others need mslk")
        if spec.block_shape != (1, 0) or spec.activation_order:
            raise Unsupported("torchao's GPTQ has a scale for each row, columns first to last")
        api = _gptq_on_any_device()
        config = api.GPTQConfig(
            step="convert",
            base_config=Int8WeightOnlyConfig(granularity=PerRow()),
            percdamp=spec.hessian_dampening,
            gptq_quantize_block_size=spec.processing_group_size,
        )
        w = torch.from_numpy(np.array(weight))
        observer = api.GPTQObserverTensor.from_hp(w)
        for batch in inputs:
            observer.update_2d(torch.from_numpy(np.array(batch)))
        with mock.patch.object(torch.cuda, "synchronize"):
            found = api.gptq_quantize(observer.hessian, w, config)
        codes = found.qdata.numpy().astype(np.int16)
        scale = found.scale.numpy().reshape(len(weight), 1)
        shift = 0 if grid.signed else 128
        zeros = np.full(scale.shape, shift, grid.dtype)
        return QuantizedWeight((codes + shift).astype(grid.dtype), scale, zeros)


@cache
def _gptq_on_any_device() -> Any:
    """The module of torchao's GPTQ without its assertions, as under ``python -O``.

    One of them refuses any device but CUDA; the arithmetic is plain PyTorch.
    """
    spec: Any = importlib.util.find_spec("torchao.prototype.gptq.api")
    module = importlib.util.module_from_spec(spec)
    source = spec.loader.get_source(spec.name)
    exec(compile(source, spec.origin, "exec", optimize=1), module.__dict__)
    return module
