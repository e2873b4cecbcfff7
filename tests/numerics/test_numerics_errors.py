"""Weights that cannot be quantized: one line that says why."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.numerics import Grid, choose_qparams, round_to_nearest

GRID = Grid.named("int8", symmetric=True)


def ones(shape, dtype=np.float32):
    return np.ones(shape, dtype)


def with_value(value):
    weight = ones((4, 4))
    weight[1, 2] = value
    return weight


BAD = {
    "integers": (ones((4, 4), np.int32), (0, 0), "int32"),
    "booleans": (ones((4, 4), np.bool_), (0, 0), "bool"),
    "complex": (ones((4, 4), np.complex64), (0, 0), "complex64"),
    "no elements": (ones((0,)), (0,), "no elements|shape"),
    "an axis of length 0": (ones((4, 0)), (1, 0), "no elements"),
    "a cut axis of length 0": (ones((0, 4)), (1, 0), "no elements"),
    "NaN": (with_value(np.nan), (1, 0), "holds NaN"),
    "infinity": (with_value(np.inf), (1, 0), "holds infinite values"),
    "minus infinity": (with_value(-np.inf), (0, 0), "holds infinite values"),
    "too few block sizes": (ones((4, 4)), (1,), "has 1 sizes.*has 2 axes"),
    "too many block sizes": (ones((4, 4)), (1, 0, 0), "has 3 sizes.*has 2 axes"),
    "blocks that do not divide": (ones((4, 4)), (0, 3), "axis 1 has length 4"),
    "negative block sizes": (ones((4, 4)), (-2, 0), "negative"),
    "no axes": (ones(()), (), "^the weight has rank 0, so it has no axis to cut into blocks$"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("function", [round_to_nearest, choose_qparams])
def test_what_cannot_be_quantized_is_a_value_error_of_one_line(function, what):
    weight, block_shape, says = BAD[what]
    before = weight.copy()
    with pytest.raises(ValueError, match=says) as raised:
        function(weight, GRID, block_shape)
    assert "\n" not in str(raised.value)
    assert weight.tobytes() == before.tobytes()


def test_nan_beside_infinity_is_reported_as_nan():
    weight = with_value(np.nan)
    weight[0, 0] = np.inf
    with pytest.raises(ValueError, match="NaN"):
        round_to_nearest(weight, GRID, (0, 0))


@pytest.mark.parametrize("dtype", [np.float64, np.int8, ">f4", np.longdouble])
def test_rounding_takes_only_float16_and_float32_of_this_machine(dtype):
    with pytest.raises(ValueError, match=r"must be float16 or float32, got \S+$"):
        round_to_nearest(ones((2, 2), dtype), GRID, (0, 0))
