"""From a layer's configuration to the grid and the blocks of one of its weights.

What cannot be quantized as configured is skipped with a reason, not refused: a configuration
speaks about many layers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import torch

from coreml_assay.numerics import (
    BlockShape,
    Grid,
    block_shape_problem,
    per_channel,
    per_tensor,
)
from coreml_assay.optimize.torch.optimization_config import QuantizationGranularity

_TRANSPOSED = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)


@attrs.frozen
class Plan:
    """How to quantize a weight."""

    grid: Grid
    blocks: BlockShape


@attrs.frozen
class Skip:
    """Why a weight stays as it is; ``wanted`` if the configuration asks for that."""

    reason: str
    wanted: bool = False


class BlockConfig(Protocol):
    """The part of a module configuration that decides the blocks."""

    granularity: QuantizationGranularity
    block_size: tuple[int, ...] | None


def block_shape(
    layer: torch.nn.Module, shape: Sequence[int], config: BlockConfig
) -> BlockShape | Skip:
    """The block shape of a layer's weight, or why there is none.

    Args:
        layer: decides which axis holds the output channels: 1 in transposed convolutions, else 0.
        shape: of the weight, two axes or more.
        config: granularity and block size.
    """
    output_axis, input_axis = (1, 0) if isinstance(layer, _TRANSPOSED) else (0, 1)
    if config.granularity is QuantizationGranularity.per_tensor:
        return per_tensor(len(shape))
    if config.granularity is QuantizationGranularity.per_channel:
        return per_channel(len(shape), output_axis)
    if config.block_size is None:
        return Skip("granularity is per_block, but block_size is None")
    return _blockwise(tuple(shape), config.block_size, output_axis, input_axis)


def _blockwise(
    shape: tuple[int, ...], sizes: tuple[int, ...], output_axis: int, input_axis: int
) -> BlockShape | Skip:
    """The block shape for ``block_size``: (output channels, input channels, ...) or (input,).

    A channel axis is cut only by a size between 0 and its length; if the input axis alone is
    cut, each output channel has blocks of its own. Source: coremltools 9.0, which checks the
    sizes of transposed convolutions against the wrong axes; these are checked on the right ones.
    """
    if len(sizes) > len(shape):
        return Skip(f"block_size {sizes} has more sizes than the weight of shape {shape} has axes")
    for axis, size in enumerate(sizes[2:], start=2):
        if size not in (0, shape[axis]):
            return Skip(
                f"block_size {sizes} cuts axis {axis} of the weight of shape {shape}; "
                "only channel axes can be cut"
            )
    output_size, input_size = sizes[:2] if len(sizes) > 1 else (0, sizes[0])
    cuts_output = 0 < output_size < shape[output_axis]
    cuts_input = 0 < input_size < shape[input_axis]
    if not (cuts_output or cuts_input):
        return Skip(
            f"block_size {sizes} cuts no channel axis of the weight of shape {shape}, which has "
            f"{shape[output_axis]} output and {shape[input_axis]} input channels; a block must be "
            "smaller than its axis"
        )
    blocks = [0] * len(shape)
    blocks[output_axis] = output_size if cuts_output else 1
    blocks[input_axis] = input_size
    if problem := block_shape_problem(shape, tuple(blocks)):
        return Skip(problem)
    return tuple(blocks)
