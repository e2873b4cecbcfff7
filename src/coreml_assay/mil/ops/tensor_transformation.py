"""Rearranging the elements of a tensor.

Source: ``tensor_transformation`` of iOS15 to iOS18. Results may share memory with operands: no
operation writes to what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation, axis_of, ints


def depth_to_space(*, x: torch.Tensor, block_size: int) -> torch.Tensor:
    """[n, C, H, W] to [n, C / b^2, H * b, W * b]; the channel's leading digits say where."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, b, b, c // b**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(*, x: torch.Tensor, block_size: int) -> torch.Tensor:
    """[n, C, H, W] to [n, C * b^2, H / b, W / b]: the inverse of `depth_to_space`."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


def pixel_shuffle(*, x: torch.Tensor, upscale_factor: int) -> torch.Tensor:
    """[n, C * f^2, H, W] to [n, C, H * f, W * f], as PyTorch's ``PixelShuffle``."""
    return functional.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(*, x: torch.Tensor, downscale_factor: int) -> torch.Tensor:
    """[n, C, H, W] to [n, C * f^2, H / f, W / f], as PyTorch's ``PixelUnshuffle``."""
    return functional.pixel_unshuffle(x, downscale_factor)


def space_to_batch(
    *, x: torch.Tensor, block_shape: Sequence[int], paddings: torch.Tensor
) -> torch.Tensor:
    """Padded [n, C, H, W] to [n * b0 * b1, C, H / b0, W / b1]; the offset leads the batch."""
    (top, bottom), (left, right) = torch.as_tensor(paddings).tolist()
    x = functional.pad(x, (left, right, top, bottom))
    n, c, h, w = x.shape
    b0, b1 = block_shape
    blocks = x.reshape(n, c, h // b0, b0, w // b1, b1)
    return blocks.permute(3, 5, 0, 1, 2, 4).reshape(n * b0 * b1, c, h // b0, w // b1)


def batch_to_space(
    *, x: torch.Tensor, block_shape: Sequence[int], crops: torch.Tensor
) -> torch.Tensor:
    """[n * b0 * b1, C, H, W] to [n, C, H * b0, W * b1], then cropped."""
    (top, bottom), (left, right) = torch.as_tensor(crops).tolist()
    n, c, h, w = x.shape
    b0, b1 = block_shape
    blocks = x.reshape(b0, b1, n // (b0 * b1), c, h, w)
    y = blocks.permute(2, 3, 4, 0, 5, 1).reshape(n // (b0 * b1), c, h * b0, w * b1)
    return y[:, :, top : h * b0 - bottom, left : w * b1 - right]


def expand_dims(*, x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """``x`` with dimensions of length 1 at the given axes of the result."""
    rank = x.ndim + len(axes)
    for axis in sorted(axis_of(axis, rank) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(*, x: torch.Tensor, axes: Sequence[int] | None = None) -> torch.Tensor:
    """``x`` without the given dimensions, or all, of length 1; others are left as they are."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def reshape(*, x: torch.Tensor, shape: Sequence[int] | torch.Tensor) -> torch.Tensor:
    """``x`` in another shape, where -1 stands for what is left and 0 for a dimension of x.

    Zeros are matched counting from the last dimension, and are 1 where x has none (iOS17); of
    as many dimensions as x has (iOS15), that is the one at the same place.
    """
    target = ints(shape)
    missing = len(target) - x.ndim
    lengths = [
        length if length != 0 else (x.shape[i - missing] if i >= missing else 1)
        for i, length in enumerate(target)
    ]
    return x.reshape(lengths)


def reshape_like(
    *,
    x: torch.Tensor,
    ref_tensors: tuple[torch.Tensor, ...],
    begins: tuple[torch.Tensor, ...],
    ends: tuple[torch.Tensor, ...],
    end_masks: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """``x`` in the shape that slices of other tensors' shapes make up together."""
    target: list[int] = []
    for ref, begin, end, to_the_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        target += ref.shape[int(begin) : None if to_the_end else int(end)]
    return x.reshape(target)


def reverse(*, x: torch.Tensor, axes: Sequence[int] | None = None) -> torch.Tensor:
    """``x`` backwards along the given axes, or all."""
    return x.flip(list(range(x.ndim)) if axes is None else list(axes))


def reverse_sequence(
    *, x: torch.Tensor, lengths: torch.Tensor, seq_axis: int = 0, batch_axis: int = 0
) -> torch.Tensor:
    """``x`` with the first lengths[i] elements of sequence i backwards."""
    moved = x.movedim((batch_axis, seq_axis), (0, 1))
    positions = torch.arange(moved.shape[1]).expand(moved.shape[:2])
    limits = lengths.reshape(-1, 1)
    source = torch.where(positions < limits, limits - 1 - positions, positions)
    rows = torch.arange(moved.shape[0]).reshape(-1, 1)
    return moved[rows, source].movedim((0, 1), (batch_axis, seq_axis))


def slice_by_index(
    *,
    x: torch.Tensor,
    begin: torch.Tensor,
    end: torch.Tensor,
    stride: Sequence[int] | torch.Tensor | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> torch.Tensor:
    """x[begin:end:stride] in NumPy's sense; a squeezed dimension is indexed by its begin."""
    index, backwards, squeezed = _region(
        x.shape, begin, end, stride, begin_mask, end_mask, squeeze_mask
    )
    y = x[index].flip(backwards) if backwards else x[index]
    return y.squeeze(squeezed) if squeezed else y


def slice_update(
    *,
    x: torch.Tensor,
    update: torch.Tensor,
    begin: torch.Tensor,
    end: torch.Tensor,
    stride: Sequence[int] | torch.Tensor | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> torch.Tensor:
    """A copy of x in which the region that `slice_by_index` would return is the update."""
    index, backwards, squeezed = _region(
        x.shape, begin, end, stride, begin_mask, end_mask, squeeze_mask
    )
    for axis in squeezed:
        update = update.unsqueeze(axis)
    y = x.clone()
    if y[index].shape != update.shape:
        raise ValueError(f"the update is {list(update.shape)}, its place {list(y[index].shape)}")
    y[index] = update.flip(backwards)
    return y


def _region(
    shape: Sequence[int],
    begin: torch.Tensor,
    end: torch.Tensor,
    stride: Sequence[int] | torch.Tensor | None,
    begin_mask: Sequence[bool] | None,
    end_mask: Sequence[bool] | None,
    squeeze_mask: Sequence[bool] | None,
) -> tuple[tuple[slice, ...], tuple[int, ...], tuple[int, ...]]:
    """Slices with positive strides, the axes to turn backwards, and those to squeeze."""
    rank = len(shape)
    none = (False,) * rank
    index, backwards = [], []
    squeezed = tuple(axis for axis, mask in enumerate(squeeze_mask or none) if mask)
    starts, stops = ints(begin), ints(end)
    steps = (1,) * rank if stride is None else ints(stride)
    no_start, no_stop = begin_mask or none, end_mask or none
    for axis, length in enumerate(shape):
        start = None if no_start[axis] else starts[axis]
        if axis in squeezed:
            at = axis_of(start or 0, length)
            index.append(slice(at, at + 1))
            continue
        chosen = range(length)[start : None if no_stop[axis] else stops[axis] : steps[axis]]
        if chosen.step < 0:
            backwards.append(axis)
            chosen = chosen[::-1]
        index.append(slice(chosen.start, max(chosen.start, chosen.stop), chosen.step))
    return tuple(index), tuple(backwards), squeezed


def slice_by_size(*, x: torch.Tensor, begin: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """size[i] elements from begin[i] on, or all that are left where size is -1."""
    index = []
    for length, start, count in zip(x.shape, ints(begin), ints(size), strict=True):
        start = start + length if start < 0 else start
        stop = length if count == -1 else start + count
        if not 0 <= start <= stop <= length:
            raise ValueError(f"{count} elements from {start} on do not fit in {length}")
        index.append(slice(start, stop))
    return x[tuple(index)]


def transpose(*, x: torch.Tensor, perm: Sequence[int]) -> torch.Tensor:
    """``x`` with its dimensions in the order of perm."""
    return x.permute(tuple(perm))


def sliding_windows(*, x: torch.Tensor, axis: int, size: int, stride: int = 1) -> torch.Tensor:
    """All windows of the size along the axis; the window's own axis follows it."""
    axis = axis_of(axis, x.ndim)
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


TENSOR_TRANSFORMATION: dict[str, Operation] = {
    "batch_to_space": batch_to_space,
    "depth_to_space": depth_to_space,
    "expand_dims": expand_dims,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "reshape": reshape,
    "reshape_like": reshape_like,
    "reverse": reverse,
    "reverse_sequence": reverse_sequence,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "sliding_windows": sliding_windows,
    "space_to_batch": space_to_batch,
    "space_to_depth": space_to_depth,
    "squeeze": squeeze,
    "transpose": transpose,
}
