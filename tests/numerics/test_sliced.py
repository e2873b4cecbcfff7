"""Quantizing and dequantizing by given parameters equals the oracle in the scale's dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coreml_assay.conformance.strategies import GRIDS
from coreml_assay.numerics import Grid, QuantizationParameters, dequantize, quantize, sliced

ANY = {"allow_nan": False, "allow_infinity": True, "allow_subnormal": True}


@st.composite
def cases(draw):
    """A weight with infinities and subnormal numbers, and parameters that do not belong to it."""
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    sizes = [draw(st.integers(1, 3)) for _ in counts]
    shape = tuple(count * size for count, size in zip(counts, sizes, strict=True))
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    width = np.finfo(dtype).bits
    grid = draw(st.sampled_from(GRIDS))
    weight = draw(hnp.arrays(dtype, shape, elements=st.floats(width=width, **ANY)))
    scale = draw(hnp.arrays(dtype, counts, elements=st.floats(0, 1024, width=width)))
    point = hnp.arrays(grid.dtype, counts, elements=st.integers(grid.lowest, grid.highest))
    return weight, QuantizationParameters(scale, draw(st.none() | point)), grid


@given(case=cases(), slice_bytes=st.sampled_from([1, 7, 1 << 20]))
@example(
    case=(
        np.array([0.5, 1.5, -2.5, 1e38, -1e38, np.inf], np.float32),
        QuantizationParameters(np.array([1, 0.5, 0], np.float32), None),
        Grid(4, signed=True, symmetric=True),
    ),
    slice_bytes=8,
)
def test_equals_the_oracle_bit_for_bit(case, slice_bytes):
    weight, parameters, grid = case
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(sliced, "_SLICE_BYTES", slice_bytes)
        codes = sliced.quantize_by(weight, parameters, grid)
        restored = sliced.dequantize_by(codes, parameters)
        assert_same_bits(codes, quantize(weight, parameters, grid))
        assert_same_bits(restored, dequantize(codes, parameters, weight.dtype))


def assert_same_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def test_the_weight_is_not_changed():
    weight = np.array([1, -2, 3, 4], np.float32)
    parameters = QuantizationParameters(np.array([0.5], np.float32), np.array([3], np.int8))
    codes = sliced.quantize_by(weight, parameters, GRIDS[0])
    sliced.dequantize_by(codes, parameters)
    assert weight.tolist() == [1, -2, 3, 4]
