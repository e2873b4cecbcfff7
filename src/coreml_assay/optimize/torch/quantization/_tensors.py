"""Round-to-nearest for tensors: from a weight to the weight its codes stand for.

The arithmetic is the numerics package's, on the CPU: in the weight's own precision if that is
float16 or float32, else in float32.
"""

from __future__ import annotations

import attrs
import numpy as np
import torch

from coreml_assay.numerics import (
    BlockShape,
    Grid,
    QuantizationParameters,
    QuantizedWeight,
    round_to_nearest,
)
from coreml_assay.numerics.blocks import Array
from coreml_assay.numerics.sliced import dequantize_by, quantize_by


@attrs.frozen(eq=False)
class QuantizedTensor:
    """A weight restored from its codes, with the parameters that give the codes again.

    Attributes:
        weight: the original's dtype, shape, strides and device; (q - z) * s.
        scale: the same dtype and rank, the number of blocks along each axis as shape; positive.
        zero_point: int8 or uint8 of the scale's shape, or None for a signed symmetric grid.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor | None


def quantize_tensor(weight: torch.Tensor, grid: Grid, blocks: BlockShape) -> QuantizedTensor:
    """Quantize a weight and restore it.

    The scale of a block of zeros is 1: a converter divides by it. bfloat16 holds the scale with
    8 bits; codes are chosen for the scale so rounded, so that weight and scale agree.

    Args:
        weight: float16, bfloat16, float32 or float64, any strides and device.
        grid: the codes to be used.
        blocks: block size for each axis, 0 for the whole axis.

    Raises:
        ValueError: the weight is empty or holds NaN or infinities, the blocks do not divide it,
            or its dtype cannot hold what its codes stand for.
    """
    working = weight.detach().to("cpu", _working_dtype(weight)).numpy()
    codes, scale, zero_point = round_to_nearest(working, grid, blocks)
    if weight.dtype is torch.bfloat16:
        scale = _rounded_to_bfloat16(scale)
        codes = quantize_by(working, QuantizationParameters(scale, zero_point), grid)
    restored = _restored(QuantizedWeight(codes, scale, zero_point))
    if not np.isfinite(restored).all():
        raise ValueError(
            f"its largest values are so near the limit of {weight.dtype} that their codes stand "
            "for infinity"
        )

    positive = np.where(scale > 0, scale, scale.dtype.type(1))
    return QuantizedTensor(
        weight=torch.empty_like(weight.detach()).copy_(torch.from_numpy(restored)),
        scale=torch.from_numpy(positive).to(weight.device, weight.dtype),
        zero_point=None if zero_point is None else torch.from_numpy(zero_point).to(weight.device),
    )


def _working_dtype(weight: torch.Tensor) -> torch.dtype:
    return torch.float16 if weight.dtype is torch.float16 else torch.float32


def _rounded_to_bfloat16(scale: Array) -> Array:
    """A float32 scale rounded to bfloat16, still positive where it was."""
    rounded: Array = torch.from_numpy(scale).to(torch.bfloat16).float().numpy()
    limits = torch.finfo(torch.bfloat16)
    return np.where(scale > 0, np.maximum(rounded, np.float32(limits.tiny * limits.eps)), rounded)


def _restored(quantized: QuantizedWeight) -> Array:
    parameters = QuantizationParameters(quantized.scale, quantized.zero_point)
    restored = dequantize_by(quantized.codes, parameters)
    restored += 0  # -0.0, from a code below its zero point in a block of zeros, becomes 0.0
    return restored
