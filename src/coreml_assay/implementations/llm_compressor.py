"""llm-compressor: rounding to nearest by compressed-tensors, and its GPTQ.

Codes are signed in compressed-tensors. Unsigned ones are the same codes, shifted together with
their zero points by half of all codes, which changes no value.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize
from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight
from llmcompressor.modifiers.gptq.helpers import accumulate_hessian, make_empty_hessian
from llmcompressor.observers import Observer

from coreml_assay.implementations.protocol import CalibratedWeightSpec, Unsupported, WeightSpec
from coreml_assay.numerics import Grid, QuantizedWeight
from coreml_assay.numerics.blocks import Array


class LLMCompressor:
    """llm-compressor, as installed: matrices per tensor, per row, and in blocks."""

    name = "llm-compressor"
    version = importlib.metadata.version("llmcompressor")

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight by an observer of llm-compressor; see `TensorFace`."""
        w = torch.from_numpy(np.array(weight))
        arguments = _arguments(weight.shape, spec)
        parameters = _observe(w, arguments)
        return _rounded(w, parameters, arguments, spec.grid)

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a weight by llm-compressor's GPTQ; see `CalibratedTensorFace`."""
        if spec.block_shape[0] != 1:
            raise Unsupported("llm-compressor's GPTQ has scales that belong to one row")
        w = torch.from_numpy(np.array(weight))
        order = "weight" if spec.activation_order else None
        arguments = _arguments(weight.shape, spec, actorder=order)
        parameters = _observe(w, arguments)
        layer = torch.nn.Linear(*weight.shape[::-1], bias=False)
        hessian, samples = make_empty_hessian(layer), torch.zeros(())
        for batch in inputs:
            accumulate_hessian(torch.from_numpy(np.array(batch)), layer, hessian, samples)
        values, _, fell_back = quantize_weight(
            w.clone()[None],
            (hessian / samples)[None],
            parameters["scale"][None],
            parameters["zero_point"][None],
            None,
            arguments,
            blocksize=spec.processing_group_size,
            percdamp=spec.hessian_dampening,
        )
        if fell_back.any():
            raise ValueError("the Hessian has no inverse")
        # Its values are codes times scales already: rounding them gives these codes again.
        return _rounded(values[0], parameters, arguments, spec.grid)


def _arguments(shape: tuple[int, ...], spec: WeightSpec, **options: Any) -> QuantizationArgs:
    """The strategy of compressed-tensors that cuts a matrix into these blocks."""
    if len(shape) != 2:
        raise Unsupported("llm-compressor quantizes matrices")
    if spec.grid.symmetric and not spec.grid.signed and not spec.grid.all_codes:
        raise Unsupported("compressed-tensors has signed symmetric codes")
    rows, columns = (size or length for size, length in zip(spec.block_shape, shape, strict=True))
    options |= {"num_bits": spec.grid.bits, "symmetric": spec.grid.symmetric}
    if (rows, columns) == shape:
        return QuantizationArgs(strategy="tensor", **options)
    if (rows, columns) == (1, shape[1]):
        return QuantizationArgs(strategy="channel", **options)
    if rows == 1:
        return QuantizationArgs(strategy="group", group_size=columns, **options)
    return QuantizationArgs(strategy="block", block_structure=[rows, columns], **options)


def _observe(w: torch.Tensor, arguments: QuantizationArgs) -> dict[str, torch.Tensor]:
    """Scale and zero point of each block of a matrix."""
    observer = Observer.load_from_registry("memoryless_minmax", base_name="weight", args=arguments)
    parameters: dict[str, torch.Tensor] = observer(w).get_qparams()
    return parameters


def _rounded(
    w: torch.Tensor, parameters: dict[str, torch.Tensor], arguments: QuantizationArgs, grid: Grid
) -> QuantizedWeight:
    """What compressed-tensors' quantize makes of a matrix, in the codes that were asked for."""
    scale, zero_point = parameters["scale"], parameters["zero_point"]
    signed = quantize(w, scale, zero_point, arguments, dtype=torch.int8)
    shift = 0 if grid.signed else 1 << (grid.bits - 1)
    blocks = scale.reshape(scale.shape if scale.ndim == 2 else (-1, 1))
    codes, zeros = (
        (each.numpy().astype(np.int16) + shift).astype(grid.dtype)
        for each in (signed, zero_point.reshape(blocks.shape))
    )
    return QuantizedWeight(codes, blocks.numpy(), zeros if grid.stores_zero_point else None)
