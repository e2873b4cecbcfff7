"""Making, joining, sorting and padding tensors. Source: ``tensor_operation`` of iOS15 to iOS17."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation, along, axis_of, ints, take


def band_part(*, x: torch.Tensor, lower: int = -1, upper: int = -1) -> torch.Tensor:
    """``x`` where -upper <= row - column <= lower, elsewhere 0; a negative bound is none."""
    rows, columns = (torch.arange(length) for length in x.shape[-2:])
    below = rows[:, None] - columns[None, :]
    keep = torch.ones_like(below, dtype=torch.bool)
    if lower >= 0:
        keep &= below <= lower
    if upper >= 0:
        keep &= -below <= upper
    return torch.where(keep, x, torch.zeros_like(x))


def cumsum(
    *, x: torch.Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False
) -> torch.Tensor:
    """Sums of the elements up to each one, itself included unless exclusive."""
    if reverse:
        return cumsum(x=x.flip(axis), axis=axis, exclusive=exclusive).flip(axis)
    if exclusive:
        shifted = x.narrow(axis, 0, x.shape[axis] - 1)
        x = torch.cat([torch.zeros_like(x.narrow(axis, 0, 1)), shifted], axis)
    return torch.cumsum(x, axis)


def fill(*, shape: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """A tensor of the given shape, every element the value."""
    return torch.full(ints(shape), value)


def fill_like(*, ref_tensor: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """A tensor of another one's shape, every element the value."""
    return torch.full(ref_tensor.shape, value)


def non_zero(*, x: torch.Tensor) -> torch.Tensor:
    """The indices of the elements that are not 0, [N, rank]."""
    return torch.nonzero(x)


def one_hot(
    *,
    indices: torch.Tensor,
    one_hot_vector_size: int | torch.Tensor,
    axis: int = -1,
    on_value: float = 1,
    off_value: float = 0,
) -> torch.Tensor:
    """``on_value`` where the new axis' position is the index, elsewhere off_value."""
    axis = axis_of(axis, indices.ndim + 1)
    positions = along(torch.arange(ints(one_hot_vector_size)[0]), axis, indices.ndim + 1)
    return torch.where(indices.unsqueeze(axis) == positions, on_value, off_value)


def pad(
    *,
    x: torch.Tensor,
    pad: Sequence[int] | torch.Tensor,
    mode: str = "constant",
    constant_val: float = 0.0,
) -> torch.Tensor:
    """``x`` with elements added before and after its last len(pad) / 2 dimensions."""
    amounts = ints(pad)
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    if mode == "constant":
        return functional.pad(x, [n for pair in reversed(pairs) for n in pair], value=constant_val)
    for dim, (before, after) in enumerate(pairs, start=x.ndim - len(pairs)):
        if before or after:
            positions = torch.arange(-before, x.shape[dim] + after)
            x = take(x, dim, _inside(positions, x.shape[dim], mode))
    return x


def _inside(positions: torch.Tensor, length: int, mode: str) -> torch.Tensor:
    """The element that each position, possibly outside [0, length), stands for."""
    last = length - 1
    if mode == "replicate":
        return positions.clamp(0, last)
    if mode == "reflect":
        if int(positions[0]) < -last or int(positions[-1]) > 2 * last:
            raise ValueError(f"reflection can add at most {last} elements to {length}")
        return last - (last - positions.abs()).abs()
    raise ValueError(f"unknown padding mode {mode!r}")


def range_1d(*, start: torch.Tensor, end: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """start, start + step, ... up to end, which is excluded."""
    first, limit, stride = (torch.as_tensor(value).item() for value in (start, end, step))
    count = max(0, math.ceil((limit - first) / stride))
    return first + stride * torch.arange(count, dtype=torch.as_tensor(start).dtype)


def tile(*, x: torch.Tensor, reps: torch.Tensor) -> torch.Tensor:
    """``x`` repeated reps[i] times along each dimension i."""
    return torch.tile(x, ints(reps))


def argsort(*, x: torch.Tensor, axis: int = -1, ascending: bool = False) -> torch.Tensor:
    """The indices that sort x; equal elements keep their order."""
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


def topk(
    *,
    x: torch.Tensor,
    k: int | torch.Tensor = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The k largest elements, or smallest if ascending, and their indices; k of -1 is all.

    They come sorted also where sort is False, which leaves the order open, and the first of
    equal elements comes first. The indices' type is given by the evaluator.
    """
    (count,) = ints(k)
    count = x.shape[axis] if count == -1 else count
    values, indices = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    values, indices = values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
    return (values, indices) if return_indices else values


def flatten2d(*, x: torch.Tensor, axis: int = 1) -> torch.Tensor:
    """``x`` as a matrix: the dimensions before the axis, and those from it on."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def shape(*, x: torch.Tensor) -> torch.Tensor:
    """The lengths of the dimensions of x, [rank]."""
    return torch.tensor(x.shape, dtype=torch.int32)


def concat(
    *, values: tuple[torch.Tensor, ...], axis: int, interleave: bool = False
) -> torch.Tensor:
    """The tensors one after the other along the axis, or taking turns if interleaved."""
    if not interleave:
        return torch.cat(values, axis)
    axis = axis_of(axis, values[0].ndim)
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def split(
    *,
    x: torch.Tensor,
    axis: int,
    num_splits: int | torch.Tensor | None = None,
    split_sizes: Sequence[int] | torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """``x`` in parts along the axis, of the given sizes or num_splits equal ones."""
    if split_sizes is not None:
        return tuple(torch.split(x, ints(split_sizes), axis))
    if num_splits is None:
        raise ValueError("needs num_splits or split_sizes")
    (count,) = ints(num_splits)
    if x.shape[axis] % count:
        raise ValueError(f"axis {axis} of length {x.shape[axis]} has no {count} equal parts")
    return tuple(torch.split(x, x.shape[axis] // count, axis))


def stack(*, values: tuple[torch.Tensor, ...], axis: int) -> torch.Tensor:
    """The tensors along a new axis."""
    return torch.stack(values, axis)


TENSOR_OPERATION: dict[str, Operation] = {
    "argsort": argsort,
    "band_part": band_part,
    "concat": concat,
    "cumsum": cumsum,
    "fill": fill,
    "fill_like": fill_like,
    "flatten2d": flatten2d,
    "identity": lambda *, x: x,
    "non_zero": non_zero,
    "one_hot": one_hot,
    "pad": pad,
    "range_1d": range_1d,
    "shape": shape,
    "split": split,
    "stack": stack,
    "tile": tile,
    "topk": topk,
}
