"""What the properties are tried on: weights, blocks and grids drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coreml_assay.numerics import BlockShape, Grid
from coreml_assay.numerics.blocks import Array

GRIDS = [
    Grid(bits, signed, symmetric)
    for bits in (8, 4)
    for signed in (True, False)
    for symmetric in (True, False)
]

# Ordinary magnitudes: no dtype's arithmetic overflows or turns subnormal on them, for any grid.
_SMALLEST, _LARGEST = 2.0**-6, 64.0


def tried_on(share: float) -> Callable[[Any], Any]:
    """Try a property on a share of the inputs: one that builds models, where others take arrays."""
    return settings(max_examples=max(1, round(share * settings().max_examples)))


@attrs.frozen(eq=False)
class Case:
    """A weight and the blocks to quantize it in."""

    weight: Array
    block_shape: BlockShape


def grid_id(grid: Grid) -> str:
    """The name a grid has in a check's parameters."""
    return f"{grid.name}-{'symmetric' if grid.symmetric else 'linear'}"


def ordinary_floats(dtype: npt.DTypeLike) -> st.SearchStrategy[float]:
    """Zero, and numbers of ordinary magnitude of either sign."""
    width: Literal[16, 32] = 16 if np.dtype(dtype) == np.float16 else 32
    magnitudes = st.floats(_SMALLEST, _LARGEST, width=width)
    return st.one_of(st.just(0.0), magnitudes, magnitudes.map(lambda x: -x))


def dtypes() -> st.SearchStrategy[npt.DTypeLike]:
    """The dtypes weights come in."""
    return st.sampled_from([np.dtype(np.float32), np.dtype(np.float16)])


def _row(*values: float) -> Case:
    return Case(np.array([values], np.float32), (0, 0))


# Weights on which implementations are known to differ, tried before any are drawn.
ZEROS = _row(0, 0)
ONE_SIDED = _row(1, 0.5)
MOST_NEGATIVE = _row(-127.5, 60)  # the largest magnitude has the sign that may have one more code
NEARLY_EVEN = Case(np.outer(np.arange(1, 9), (1, -0.996)).astype(np.float32), (1, 0))
VANISHING = _row(64, -(2.0**-6))  # the only negative weight is rounded to zero


@st.composite
def cases(draw: st.DrawFn, min_rank: int = 1, max_rank: int = 4, max_blocks: int = 3) -> Case:
    """A weight of ordinary magnitudes whose every axis is cut into blocks, or not."""
    rank = draw(st.integers(min_rank, max_rank))
    counts = draw(st.tuples(*[st.integers(1, max_blocks)] * rank))
    sizes = draw(st.tuples(*[st.integers(1, 4)] * rank))
    cut = draw(st.tuples(*[st.booleans()] * rank))
    shape = tuple(count * size for count, size in zip(counts, sizes, strict=True))
    block_shape = tuple(size if c else 0 for size, c in zip(sizes, cut, strict=True))
    dtype = draw(dtypes())
    weight = draw(hnp.arrays(dtype, shape, elements=ordinary_floats(dtype)))
    return Case(weight, block_shape)


@st.composite
def channel_cases(draw: st.DrawFn) -> Case:
    """A weight of rank 2 with one block for each row."""
    dtype = draw(dtypes())
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6)))
    weight = draw(hnp.arrays(dtype, shape, elements=ordinary_floats(dtype)))
    return Case(weight, (1, 0))
