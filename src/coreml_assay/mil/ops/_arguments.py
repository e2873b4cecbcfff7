"""Reading operands: the same parameter may arrive as a Python value or as a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Operation = Callable[..., Any]


def ints(value: int | Sequence[int] | torch.Tensor) -> tuple[int, ...]:
    """A scalar, a sequence or a tensor of rank 0 or 1 as a tuple of integers."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, Sequence):
        return tuple(int(element) for element in value)
    return (int(value),)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for rank {rank}")
    return axis % rank


def along(vector: torch.Tensor, axis: int, rank: int) -> torch.Tensor:
    """A vector shaped to broadcast along one axis of a tensor of the given rank."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def take(x: torch.Tensor, dim: int, indices: torch.Tensor) -> torch.Tensor:
    """The slices of x at a vector of indices along a dimension, counted from the front."""
    if dim == x.ndim - 1:  # where index_select is ten times slower than gather
        return torch.gather(x, dim, indices.expand(*x.shape[:-1], -1))
    return x.index_select(dim, indices)
