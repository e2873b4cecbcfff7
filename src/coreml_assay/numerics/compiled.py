"""Round-to-nearest by the compiled kernel: one pass over the weight, on PyTorch's threads, if any.

Equals `affine.choose_qparams` and `affine.quantize` in the weight's dtype, bit for bit; what the
kernel cannot do it declines, and `rounding` does it with PyTorch or numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from coreml_assay.numerics import native
from coreml_assay.numerics.blocks import Array
from coreml_assay.numerics.grid import Grid

try:
    from torch import get_num_threads
except ImportError:  # PyTorch is optional, and with it the setting

    def get_num_threads() -> int:
        """One: nobody was asked."""
        return 1


_NAMES = {
    np.dtype(np.float32): "coreml_assay_round_f32",
    np.dtype(np.float16): "coreml_assay_round_f16",
}
_WORTH_A_THREAD = 1 << 20  # elements; starting a thread takes as long as rounding many thousands
_ARGUMENTS = (
    ctypes.c_void_p,  # weight
    *[ctypes.c_int64] * 5,  # its shape, as blocks, and the distance of rows
    *[ctypes.c_int32] * 4,  # lowest, highest, symmetric, middle
    *[ctypes.c_void_p] * 3,  # scale, zero point, codes
)


def round_into(
    weight: Array, grid: Grid, codes: Array, scale: Array, zero_point: Array | None
) -> bool:
    """Fill in codes, scale and zero point, if the kernel can.

    Args:
        weight: float16 or float32.
        grid: the codes to be used.
        codes: of the weight's shape and the grid's dtype.
        scale: of the weight's dtype, the number of blocks along each axis as shape.
        zero_point: of the scale's shape and the grid's dtype, or None where the grid stores none.

    Returns:
        Whether it did. It declines where there is no kernel, where an array is not contiguous in
        native byte order, where blocks cut two axes that are not neighbours in a way that four
        nested loops do not reach, and where a block holds NaN or infinities or needs more than the
        weight's precision. What the arrays hold is then undefined.
    """
    layout = nested_blocks(weight.shape, scale.shape)
    arrays = [array for array in (weight, codes, scale, zero_point) if array is not None]
    if layout is None or not all(
        array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
        for array in arrays
    ):
        return False
    kernel = native.kernel(_NAMES[weight.dtype], *_ARGUMENTS)
    if kernel is None:
        return False
    bytes_each = weight.itemsize

    def round_part(part: _Part) -> bool:
        zero_points = None if zero_point is None else zero_point.ctypes.data + part.block
        failed = kernel(
            weight.ctypes.data + part.element * bytes_each,
            *part.layout,
            layout[2] * layout[3],
            grid.lowest,
            grid.highest,
            grid.symmetric,
            grid.middle,
            scale.ctypes.data + part.block * bytes_each,
            zero_points,
            codes.ctypes.data + part.element,
        )
        return not failed

    threads = min(get_num_threads(), max(1, weight.size // _WORTH_A_THREAD))
    parts = list(_parts(layout, threads))
    if len(parts) == 1:
        return round_part(parts[0])
    with ThreadPoolExecutor(len(parts)) as pool:
        return all(list(pool.map(round_part, parts)))


class _Part(NamedTuple):
    """Blocks that one thread rounds: where they begin, and their (n0, b0, n1, b1)."""

    element: int
    block: int
    layout: tuple[int, int, int, int]


def _parts(layout: tuple[int, int, int, int], threads: int) -> Iterator[_Part]:
    """Cut a weight between blocks, along the first axis that has several."""
    n0, b0, n1, b1 = layout
    count = n0 if n0 > 1 else n1
    bounds = [count * i // threads for i in range(threads + 1)]
    for start, stop in pairwise(bounds):
        if start < stop and n0 > 1:
            yield _Part(start * b0 * n1 * b1, start * n1, (stop - start, b0, n1, b1))
        elif start < stop:
            yield _Part(start * b1, start, (1, b0, stop - start, b1))


def nested_blocks(shape: Sequence[int], counts: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Write a weight's shape as (n0, b0, n1, b1), n blocks of b entries, if it can be.

    Axes that are cut alike melt into one: a convolution's weight with a block for each output
    channel is (1, 1, channels, rest), a matrix with one for each column (1, rows, columns, 1).

    Args:
        shape: of the weight.
        counts: the number of blocks along each axis.
    """
    lengths: list[int] = []  # counts and sizes in turn, counts first
    for length, count in zip(shape, counts, strict=True):
        for turn, part in enumerate((count, length // count)):
            if part == 1:
                continue
            if len(lengths) % 2 == turn:
                lengths.append(part)
            elif not lengths:
                lengths += [1, part]
            else:
                lengths[-1] *= part
    if len(lengths) > 4:
        return None
    if len(lengths) <= 2:  # every block is one run
        lengths = [1, 1, *lengths]
    n0, b0, n1, b1 = [*lengths, 1, 1][:4]
    return n0, b0, n1, b1
