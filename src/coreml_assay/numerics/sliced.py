"""Quantizing and dequantizing by given parameters: PyTorch, a slice at a time.

Equals `affine.quantize` and `affine.dequantize` in the dtype of the scale, bit for bit. Slices are
small enough to stay in a core's cache, and need next to no memory beside the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from coreml_assay.numerics.affine import QuantizationParameters
from coreml_assay.numerics.blocks import Array, split_shape, spread
from coreml_assay.numerics.grid import Grid

_SLICE_BYTES = 1 << 20  # a slice and its quotient stay in a core's cache


def quantize_by(weight: Array, parameters: QuantizationParameters, grid: Grid) -> Array:
    """Codes of a weight by given parameters, in their dtype.

    Args:
        weight: float16 or float32, shape (d0, d1, ...), rank 1 or more, not empty, no NaN.
        parameters: scale of the weight's dtype and shape (n0, n1, ...), where n_i divides d_i.
        grid: the codes to be used.

    Returns:
        What `affine.quantize` returns.
    """
    codes = np.empty(weight.shape, grid.dtype)
    quantize_tensor_into(codes, torch.from_numpy(viewable(weight)), parameters, grid)
    return codes


def dequantize_by(codes: Array, parameters: QuantizationParameters) -> Array:
    """The weights that codes stand for, in the dtype of the scale.

    Args:
        codes: int8 or uint8, shape (d0, d1, ...), rank 1 or more, not empty.
        parameters: scale, float16 or float32, of shape (n0, n1, ...), where n_i divides d_i.

    Returns:
        What `affine.dequantize` returns with the scale's dtype as working precision.
    """
    scale = parameters.scale
    restored = np.empty(codes.shape, scale.dtype)
    tensor = torch.from_numpy(viewable(codes))
    for rows, blocks in _slices(codes.shape, scale.shape, scale.itemsize):
        s, z = _of_slice(parameters, blocks)
        split = tensor[rows].reshape(split_shape(tensor[rows].shape, scale[blocks].shape))
        w = split.to(s.dtype) if z is None else split.to(s.dtype).sub_(z)
        restored[rows] = w.mul_(s).reshape(tensor[rows].shape).numpy()
    return restored


def quantize_tensor_into(
    codes: Array,
    tensor: torch.Tensor,
    parameters: QuantizationParameters,
    grid: Grid,
    widened: npt.NDArray[np.bool_] | None = None,
) -> None:
    """As `quantize_by`; where ``widened`` is true, a block each, divide in the next wider dtype."""
    scale = parameters.scale
    for rows, blocks in _slices(tuple(tensor.shape), scale.shape, scale.itemsize):
        part = tensor[rows]
        s, z = _of_slice(parameters, blocks)
        split = part.reshape(split_shape(part.shape, scale[blocks].shape))
        q = _round(split, s, z, grid)
        if widened is not None and widened[blocks].any():
            wide = torch.float64 if s.dtype is torch.float32 else torch.float32
            exact = _round(split.to(wide), s.to(wide), z, grid).to(s.dtype)
            q = torch.where(torch.from_numpy(spread(widened[blocks])), exact, q)
        if not (s > 0).all():
            q = torch.where(s > 0, q, 0)
        codes[rows] = q.reshape(part.shape).to(torch.int8 if grid.signed else torch.uint8).numpy()


def viewable(array: Array) -> Array:
    """The array, or a copy where PyTorch cannot view it."""
    whole = all(stride >= 0 and stride % array.itemsize == 0 for stride in array.strides)
    return array if whole and array.flags.writeable else array.copy()


_Index = tuple["slice | npt.NDArray[np.intp]", ...]


def _of_slice(
    parameters: QuantizationParameters, blocks: _Index
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scale and zero point of a slice, against its split shape."""
    s = torch.from_numpy(spread(parameters.scale[blocks]))
    if parameters.zero_point is None:
        return s, None
    return s, torch.from_numpy(spread(parameters.zero_point[blocks]))


def _slices(
    shape: tuple[int, ...], parameters: tuple[int, ...], itemsize: int
) -> Iterator[tuple[tuple[slice, ...], _Index]]:
    """Index pairs: a slice of the weight that fits a cache, and the blocks its rows lie in.

    The blocks are given once for each row, so a slice may begin and end inside a block.
    """
    length, block = shape[0], shape[0] // parameters[0]
    row_bytes = itemsize * math.prod(shape[1:])
    step = _SLICE_BYTES // row_bytes
    if step > 0 or len(shape) == 1:
        for start in range(0, length, max(1, step)):
            stop = min(start + max(1, step), length)
            yield (slice(start, stop),), (np.arange(start, stop) // block,)
        return
    for row in range(length):  # a single row is too long: cut it along the next axis
        for inner, blocks in _slices(shape[1:], parameters[1:], itemsize):
            first = row // block
            yield (slice(row, row + 1), *inner), (slice(first, first + 1), *blocks)


def _round(
    split: torch.Tensor, s: torch.Tensor, z: torch.Tensor | None, grid: Grid
) -> torch.Tensor:
    """clip(round(w / s) + z, lo, hi), still in floating point; one temporary.

    It is NaN in a block of zeros; the caller sets those.
    """
    q = torch.div(split, s).round_()
    if z is not None:
        q += z
    return q.clamp_(grid.lowest, grid.highest)
