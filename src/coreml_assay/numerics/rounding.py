"""Round-to-nearest in the weight's own precision: compiled, or with PyTorch a slice at a time.

PyTorch is optional: without it and without a kernel the oracle's own steps are taken.

Equals `affine.choose_qparams` and `affine.quantize` run in the weight's dtype, bit for bit,
except in blocks whose scale or zero point that dtype cannot compute: those are done in the next
wider one. Unless neither is there, it needs less memory beside its result than one copy of the
weight.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coreml_assay.numerics.affine import (
    QuantizationParameters,
    block_range,
    out_of_precision,
    qparams_of_range,
    quantize,
    range_of_extremes,
)
from coreml_assay.numerics.blocks import (
    Array,
    BlockShape,
    parameter_shape,
    split_shape,
    spread,
)
from coreml_assay.numerics.compiled import round_into
from coreml_assay.numerics.grid import Grid

_WIDER: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float64),
}


class QuantizedWeight(NamedTuple):
    """Codes with the parameters that turn them back into weights.

    Attributes:
        codes: int8 or uint8, the weight's shape.
        scale: the weight's dtype and rank, the number of blocks along each axis as shape.
        zero_point: the codes' dtype and the scale's shape, or None for a signed symmetric grid.
    """

    codes: Array
    scale: Array
    zero_point: Array | None


def round_to_nearest(
    weight: Array, grid: Grid, block_shape: BlockShape, out: QuantizedWeight | None = None
) -> QuantizedWeight:
    """Choose parameters for each block and round every weight to its nearest code.

    Args:
        weight: float16 or float32, rank 1 or more, finite, not empty.
        grid: the codes to be used.
        block_shape: block size for each axis, 0 for the whole axis.
        out: where to put the result, of the shapes and dtypes it has: a new one costs more than
            the rounding. None makes a new one.

    Returns:
        Codes, scale and zero point; the scale of a block that is not all zero is positive and
        finite whatever the weight's magnitude.

    Raises:
        ValueError: another dtype, rank 0, an empty weight, NaN or infinities, a shape that the
            blocks do not divide, or an ``out`` that does not fit. What ``out`` holds after an
            error is undefined.
    """
    if weight.dtype not in _WIDER:
        raise ValueError(f"the weight must be float16 or float32, got {weight.dtype}")
    blocks = parameter_shape(weight.shape, block_shape)
    result = (
        _empty_result(weight, grid, blocks) if out is None else _checked(out, weight, grid, blocks)
    )
    if weight.size == 0 or weight.ndim == 0:
        block_range(weight, grid, block_shape)  # says what is wrong
    if not round_into(weight, grid, *result):
        with_torch = find_spec("torch") is not None
        (_round_with_torch if with_torch else _round_with_numpy)(weight, grid, result)
    return result


def _empty_result(weight: Array, grid: Grid, blocks: tuple[int, ...]) -> QuantizedWeight:
    return QuantizedWeight(
        codes=np.empty(weight.shape, grid.dtype),
        scale=np.empty(blocks, weight.dtype),
        zero_point=np.empty(blocks, grid.dtype) if grid.stores_zero_point else None,
    )


def _checked(
    out: QuantizedWeight, weight: Array, grid: Grid, blocks: tuple[int, ...]
) -> QuantizedWeight:
    zero_point = (blocks, grid.dtype) if grid.stores_zero_point else None
    expected = ((weight.shape, grid.dtype), (blocks, weight.dtype), zero_point)
    for name, array, fit in zip(QuantizedWeight._fields, out, expected, strict=True):
        found = None if array is None else (array.shape, array.dtype)
        if found != fit:
            raise ValueError(f"out.{name} must have shape and dtype {fit}, got {found}")
    return out


def _round_with_torch(weight: Array, grid: Grid, out: QuantizedWeight) -> None:
    import torch

    from coreml_assay.numerics.sliced import quantize_tensor_into, viewable

    tensor = torch.from_numpy(viewable(weight))
    split = tensor.reshape(split_shape(tensor.shape, out.scale.shape))
    within_blocks = tuple(range(1, split.ndim, 2))
    low, high = split.amin(within_blocks).numpy(), split.amax(within_blocks).numpy()
    parameters, widened = _parameters(low, high, grid)
    _store(parameters, out)
    quantize_tensor_into(out.codes, tensor, parameters, grid, widened)


def _round_with_numpy(weight: Array, grid: Grid, out: QuantizedWeight) -> None:
    split = weight.reshape(split_shape(weight.shape, out.scale.shape))
    within_blocks = tuple(range(1, split.ndim, 2))
    parameters, widened = _parameters(split.min(within_blocks), split.max(within_blocks), grid)
    _store(parameters, out)
    out.codes[...] = quantize(weight, parameters, grid)
    if widened.any():
        wide = _WIDER[weight.dtype]
        scale = parameters.scale.astype(wide)
        parameters = QuantizationParameters(scale, parameters.zero_point)
        exact = quantize(weight.astype(wide), parameters, grid)
        inside = np.broadcast_to(spread(widened), split.shape).reshape(weight.shape)
        np.copyto(out.codes, exact, where=inside)


def _store(parameters: QuantizationParameters, out: QuantizedWeight) -> None:
    out.scale[...] = parameters.scale
    if out.zero_point is not None:
        out.zero_point[...] = parameters.zero_point


def _parameters(
    low: Array, high: Array, grid: Grid
) -> tuple[QuantizationParameters, npt.NDArray[np.bool_]]:
    """Parameters in the weight's dtype, and the blocks that needed a wider one to find them."""
    A, B = range_of_extremes(low, high, grid)
    parameters = qparams_of_range(A, B, grid)
    widened = out_of_precision(A, B, grid)
    if not widened.any():
        return parameters, widened
    wide_dtype = _WIDER[A.dtype]
    wide = qparams_of_range(A.astype(wide_dtype), B.astype(wide_dtype), grid)
    # A scale below the dtype's smallest number is raised to it: zero would erase the block.
    smallest = np.finfo(A.dtype).smallest_subnormal
    stored = np.maximum(wide.scale.astype(A.dtype), smallest)
    scale = np.where(widened, stored, parameters.scale)
    if parameters.zero_point is None or wide.zero_point is None:
        return QuantizationParameters(scale, None), widened
    zero_point = np.where(widened, wide.zero_point, parameters.zero_point)
    return QuantizationParameters(scale, zero_point), widened
