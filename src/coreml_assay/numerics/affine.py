"""The oracle: affine quantization in three verbs, written to be read rather than to be fast.

With w a weight, q a code, s a scale, z a zero point and [lo, hi] the grid's codes,

    q = clip(round(w / s) + z, lo, hi)        w' = (q - z) * s

where round is half-to-even and is taken before the zero point is added. The arithmetic is
float64 unless another working precision is asked for; `rounding` is the fast form in the
weight's own precision and equals these functions run in that precision bit for bit.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from coreml_assay.numerics.blocks import Array, BlockShape, parameter_shape, split_shape, spread
from coreml_assay.numerics.grid import Grid


@attrs.frozen(eq=False)
class QuantizationParameters:
    """Scale and zero point of each block.

    Attributes:
        scale: floating point, one entry for each block, same rank as the weight.
        zero_point: codes of the same shape, or None where the grid stores none (it is then 0).
    """

    scale: Array
    zero_point: Array | None


def block_range(weight: Array, grid: Grid, block_shape: BlockShape) -> tuple[Array, Array]:
    """The range [A, B] that the grid has to cover in each block, in the weight's dtype.

    Symmetric: A = -R, B = R with R = max|w|. Otherwise A = min(0, min w), B = max(0, max w), so
    that zero is always exact.

    Args:
        weight: floating point, any rank of at least 1, no axis of length 0.
        grid: the codes to be used.
        block_shape: block size for each axis, 0 for the whole axis.

    Returns:
        A and B, each with the number of blocks along each axis as shape.

    Raises:
        ValueError: the weight is not floating point, has rank 0, is empty, holds NaN or infinities,
            or cannot be cut into such blocks.
    """
    blocks = parameter_shape(weight.shape, block_shape)
    if not np.issubdtype(weight.dtype, np.floating):
        raise ValueError(f"only floating-point weights can be quantized, got {weight.dtype}")
    if weight.ndim == 0:
        raise ValueError("the weight has rank 0, so it has no axis to cut into blocks")
    if weight.size == 0:
        raise ValueError(f"the weight of shape {weight.shape} has no elements")
    within_blocks = tuple(range(1, 2 * weight.ndim, 2))
    split = weight.reshape(split_shape(weight.shape, blocks))
    return range_of_extremes(split.min(axis=within_blocks), split.max(axis=within_blocks), grid)


def range_of_extremes(low: Array, high: Array, grid: Grid) -> tuple[Array, Array]:
    """The range [A, B] of `block_range` from each block's lowest and highest value.

    Raises:
        ValueError: there are NaN or infinities among them.
    """
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        kind = "NaN" if np.isnan(low).any() else "infinite values"
        raise ValueError(f"the weight holds {kind}, which no scale can represent")
    if grid.symmetric:
        largest = np.maximum(np.abs(low), np.abs(high))
        return -largest, largest
    zero = low.dtype.type(0)
    return np.minimum(zero, low), np.maximum(zero, high)


def choose_qparams(
    weight: Array,
    grid: Grid,
    block_shape: BlockShape,
    working: npt.DTypeLike = np.float64,
) -> QuantizationParameters:
    """Scale and zero point of each block by the range of its values.

    s = (B - A) / (hi - lo). A symmetric grid's zero point is its middle; otherwise
    z = clip(round((lo * B - hi * A) / (B - A)), lo, hi). A block of zeros has scale 0.

    Source: API reference of ``OpLinearQuantizerConfig``, "The quantization formula".

    Args:
        weight: floating point, any rank of at least 1.
        grid: the codes to be used.
        block_shape: block size for each axis, 0 for the whole axis.
        working: dtype of the arithmetic and of the returned scale.

    Returns:
        Parameters with one entry for each block; the zero point in the grid's dtype.

    Raises:
        ValueError: as `block_range`.
    """
    A, B = block_range(weight, grid, block_shape)
    return qparams_of_range(A.astype(working), B.astype(working), grid)


def qparams_of_range(A: Array, B: Array, grid: Grid) -> QuantizationParameters:
    """Scale and zero point that spread the grid over the ranges [A, B], in their dtype.

    Args:
        A: lower ends, at most 0, any shape.
        B: upper ends, at least 0, the same shape and dtype.
        grid: the codes to be used.

    Returns:
        Parameters of that shape. A dtype too narrow for the range shows as an infinite or zero
        scale; `rounding` is where that is mended.
    """
    lo, hi = grid.lowest, grid.highest
    with np.errstate(all="ignore"):  # overflow shows in the result
        s = (B - A) / (hi - lo)
        if not grid.stores_zero_point:
            return QuantizationParameters(s, None)
        if grid.symmetric:
            return QuantizationParameters(s, np.full(s.shape, grid.middle, grid.dtype))
        z = np.clip(np.round(_balance(A, B, grid) / (B - A)), lo, hi)
    # Undefined for a block of zeros, and where the balance and the range both overflow.
    return QuantizationParameters(s, np.where(np.isnan(z), 0, z).astype(grid.dtype))


def _balance(A: Array, B: Array, grid: Grid) -> Array:
    """The numerator of the zero point, lo * B - hi * A."""
    balance: Array = grid.lowest * B - grid.highest * A
    return balance


def out_of_precision(A: Array, B: Array, grid: Grid) -> npt.NDArray[np.bool_]:
    """Which ranges [A, B] their own dtype cannot turn into a finite scale and zero point.

    True where the scale or the zero point overflows, or the scale vanishes although the range
    does not.
    """
    with np.errstate(all="ignore"):
        s = (B - A) / grid.steps
        failed = ~np.isfinite(s) | ((s == 0) & (B > A))
        if not grid.symmetric:
            failed |= ~np.isfinite(_balance(A, B, grid))
    return np.asarray(failed)


def quantize(weight: Array, parameters: QuantizationParameters, grid: Grid) -> Array:
    """Round each weight to the nearest code: q = clip(round(w / s) + z, lo, hi).

    Rounding is half-to-even, in the dtype that w / s has. Where the scale is 0 the code is 0.

    Args:
        weight: floating point, shape (d0, d1, ...).
        parameters: of shape (n0, n1, ...), where n_i divides d_i.
        grid: the codes to be used.

    Returns:
        Codes of the weight's shape, in the grid's dtype.
    """
    s, z = _against(parameters)
    split = weight.reshape(split_shape(weight.shape, parameters.scale.shape))
    with np.errstate(all="ignore"):  # 0 / 0 in a block of zeros; such blocks are set below
        q = np.clip(np.round(split / s) + z, grid.lowest, grid.highest)
    return np.where(s > 0, q, 0).astype(grid.dtype).reshape(weight.shape)


def dequantize(
    codes: Array, parameters: QuantizationParameters, working: npt.DTypeLike = np.float64
) -> Array:
    """The weights that codes stand for: w' = (q - z) * s.

    Args:
        codes: integers, shape (d0, d1, ...).
        parameters: of shape (n0, n1, ...), where n_i divides d_i.
        working: dtype of the arithmetic and of the result.

    Returns:
        Weights of the codes' shape.
    """
    s, z = _against(parameters)
    split = codes.reshape(split_shape(codes.shape, parameters.scale.shape))
    restored: Array = (split.astype(working) - z.astype(working)) * s.astype(working)
    return restored.reshape(codes.shape)


def _against(parameters: QuantizationParameters) -> tuple[Array, Array]:
    """Scale and zero point, shaped to broadcast against split blocks."""
    scale = parameters.scale
    zero_point = parameters.zero_point
    if zero_point is None:
        zero_point = np.zeros(scale.shape, np.int8)
    return spread(scale), spread(zero_point)
