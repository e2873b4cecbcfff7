"""The fake-quantize operators of torch itself, with scales from its fused observer.

``torch.fused_moving_avg_obs_fake_quant`` is what chooses scale and zero point without torch.ao;
``torch.fake_quantize_per_tensor_affine`` and ``torch.fake_quantize_per_channel_affine`` round with
them. They return values; the codes are read off them.
"""

from __future__ import annotations

import numpy as np
import torch

from coreml_assay.implementations.protocol import Unsupported, WeightSpec
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array


class TorchFakeQuantize:
    """torch's fake-quantize operators, per tensor and per channel, for float32."""

    name = "torch-fake-quantize"
    version = str(torch.__version__)  # it is of a class of its own

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight; see `TensorFace`."""
        if weight.dtype != np.float32:
            raise Unsupported("torch's fused observer takes float32")
        axis = channel_axis(weight.shape, spec.block_shape)
        grid, w = spec.grid, torch.from_numpy(np.array(weight))
        scale, zero_point = _choose(w, axis, grid.lowest, grid.highest, grid.symmetric)
        if axis is None:
            values = torch.fake_quantize_per_tensor_affine(
                w, scale, zero_point, grid.lowest, grid.highest
            )
        else:
            values = torch.fake_quantize_per_channel_affine(
                w, scale, zero_point, axis, grid.lowest, grid.highest
            )
        blocks = [1] * w.ndim
        if axis is not None:
            blocks[axis] = w.shape[axis]
        scale, zero_point = scale.reshape(blocks), zero_point.reshape(blocks)
        codes = (torch.round(values / scale) + zero_point).numpy().astype(grid.dtype)
        zeros = zero_point.numpy().astype(grid.dtype)
        kept = zeros if grid.stores_zero_point or zeros.any() else None
        return QuantizedWeight(codes, scale.numpy(), kept)


def channel_axis(shape: tuple[int, ...], block_shape: tuple[int, ...]) -> int | None:
    """0 if each index of the first axis is a block of its own; None if there is one block.

    Raises:
        Unsupported: the blocks are others.
    """
    cut = [
        axis
        for axis, (length, size) in enumerate(zip(shape, block_shape, strict=True))
        if size not in (0, length)
    ]
    if not cut:
        return None
    if cut != [0] or block_shape[0] != 1 or len(shape) < 2:
        raise Unsupported(
            "torch's fused observer sees one range, or one for each index of a matrix' first axis"
        )
    return 0


def _choose(
    w: torch.Tensor, axis: int | None, lowest: int, highest: int, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of each channel that torch's fused observer chooses on first sight."""
    count = 1 if axis is None else w.shape[axis]
    low, high = torch.full((count,), torch.inf), torch.full((count,), -torch.inf)
    scale, zero_point = torch.ones(count), torch.zeros(count, dtype=torch.int32)
    on = torch.ones(1, dtype=torch.int64)
    torch.fused_moving_avg_obs_fake_quant(
        w,
        on,
        on,
        low,
        high,
        scale,
        zero_point,
        averaging_const=1.0,
        quant_min=lowest,
        quant_max=highest,
        ch_axis=axis or 0,
        per_row_fake_quant=axis is not None,
        symmetric_quant=symmetric,
    )
    return scale, zero_point
