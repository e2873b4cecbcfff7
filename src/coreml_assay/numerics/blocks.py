"""One notion of granularity: a block shape, the size of a block along each axis.

Per tensor is one block, per channel is a block of size 1 along one axis, and so on. A size of 0
stands for the whole axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
BlockShape = tuple[int, ...]


def per_tensor(rank: int) -> BlockShape:
    """The block shape with one block for the whole tensor of the given rank."""
    return (0,) * rank


def per_channel(rank: int, axis: int) -> BlockShape:
    """The block shape with one block for each index along ``axis``."""
    return tuple(1 if i == axis % rank else 0 for i in range(rank))


def per_block(rank: int, output_axis: int, input_axis: int, size: int) -> BlockShape:
    """One block for each output channel and each run of ``size`` input channels.

    A ``size`` of 0 stands for the whole input axis, which is per channel.
    """
    shape = [0] * rank
    shape[input_axis] = size
    shape[output_axis] = 1
    return tuple(shape)


def block_shape_problem(shape: Sequence[int], block_shape: BlockShape) -> str | None:
    """Why a tensor of ``shape`` cannot be cut into blocks of ``block_shape``, or None if it can."""
    if len(block_shape) != len(shape):
        return (
            f"the block shape {tuple(block_shape)} has {len(block_shape)} sizes, "
            f"but the weight of shape {tuple(shape)} has {len(shape)} axes"
        )
    for axis, (length, size) in enumerate(zip(shape, block_shape, strict=True)):
        if size < 0:
            return f"the block size {size} on axis {axis} is negative"
        if size and length % size:
            return f"axis {axis} has length {length}, which block size {size} does not divide"
    return None


def parameter_shape(shape: Sequence[int], block_shape: BlockShape) -> tuple[int, ...]:
    """The number of blocks along each axis, which is the shape of scale and zero point.

    Raises:
        ValueError: the tensor cannot be cut into such blocks.
    """
    if problem := block_shape_problem(shape, block_shape):
        raise ValueError(problem)
    return tuple(
        length // size if size else 1 for length, size in zip(shape, block_shape, strict=True)
    )


def split_shape(shape: Sequence[int], parameters: Sequence[int]) -> tuple[int, ...]:
    """The shape (n0, b0, n1, b1, ...) that shows blocks: n_i blocks of b_i entries on axis i."""
    return tuple(
        part
        for length, count in zip(shape, parameters, strict=True)
        for part in (count, length // count if count else 0)
    )


def spread(parameter: Array) -> Array:
    """Give a per-block parameter of shape (n0, n1, ...) the shape (n0, 1, n1, 1, ...).

    It then broadcasts against a tensor reshaped by `split_shape`.
    """
    return parameter.reshape([part for count in parameter.shape for part in (count, 1)])
