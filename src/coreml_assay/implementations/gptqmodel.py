"""GPTQModel: the quantizer of its GPTQ, and GPTQ itself, on a CPU."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

import numpy as np
import torch
from gptqmodel.quantization import GPTQ, GPTQConfig

from coreml_assay.implementations.protocol import CalibratedWeightSpec, Unsupported, WeightSpec
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array


class GPTQModel:
    """GPTQModel, as installed: unsigned codes of 4 and 8 bits, matrices, per row and in groups."""

    name = "gptqmodel"
    version = importlib.metadata.version("gptqmodel")

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """It has no rounding of its own without calibration inputs."""
        raise Unsupported("GPTQModel quantizes under calibration inputs")

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a weight by GPTQModel's GPTQ; see `CalibratedTensorFace`."""
        rows_each, block = spec.block_shape
        if spec.grid.signed or rows_each != 1:
            raise Unsupported("GPTQModel has unsigned codes, and scales that belong to one row")
        config = GPTQConfig(
            bits=spec.grid.bits,
            group_size=block or -1,
            sym=spec.grid.symmetric,
            desc_act=spec.activation_order,
            # Groups of columns in another order can be stored only with scales of the original.
            static_groups=spec.activation_order and block > 0,
            act_group_aware=False,
            damp_percent=spec.hessian_dampening,
            fallback=None,
            offload_to_disk=False,
        )
        rows, columns = weight.shape
        layer = torch.nn.Linear(columns, rows, bias=False).requires_grad_(False)
        layer.weight.data = torch.from_numpy(np.array(weight))
        algorithm = GPTQ(layer, config)
        algorithm.quantizer.configure(perchannel=True)
        for batch in inputs:
            algorithm.add_batch(torch.from_numpy(np.array(batch)), None)
        values, scale, zero, *_ = algorithm.quantize(blocksize=spec.processing_group_size)
        each_column = [
            torch.repeat_interleave(each, columns // each.shape[1], dim=1) for each in (scale, zero)
        ]
        # Its values are codes times scales already: dividing reads the codes off them.
        codes = torch.round(values / each_column[0]) + each_column[1]
        dtype = spec.grid.dtype
        return QuantizedWeight(
            codes.numpy().astype(dtype), scale.numpy(), zero.numpy().astype(dtype)
        )
