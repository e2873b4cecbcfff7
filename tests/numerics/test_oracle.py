"""The oracle's formulas, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.numerics import (
    Grid,
    QuantizationParameters,
    choose_qparams,
    dequantize,
    quantize,
)


def quantized(values, name, *, symmetric):
    grid = Grid.named(name, symmetric=symmetric)
    weight = np.array(values, np.float32)
    parameters = choose_qparams(weight, grid, (0,) * weight.ndim)
    return parameters, quantize(weight, parameters, grid).tolist()


# values, code type, symmetric: scale, zero point, codes
BY_HAND = [
    ([-2, -10, 6, -3], "int4", False, 16 / 15, 1, [-1, -8, 7, -2]),
    ([-2, -10, 6, -3], "uint4", False, 16 / 15, 9, [7, 0, 15, 6]),
    ([-2, -10, 6, -3], "int4", True, 20 / 14, None, [-1, -7, 4, -2]),
    ([-2, -10, 6, -3], "uint4", True, 20 / 14, 7, [6, 0, 11, 5]),
    ([-127, 127, 0, 64], "int8", True, 1, None, [-127, 127, 0, 64]),
    ([-127, 127, 0, 64], "uint8", True, 1, 127, [0, 254, 127, 191]),
    ([0, 255, 3], "uint8", False, 1, 0, [0, 255, 3]),
    (
        [5, 10],
        "uint4",
        False,
        10 / 15,
        0,
        [8, 15],
    ),  # zero belongs to the range: 7.5 is even-ed to 8
    ([-5, -10], "int4", False, 10 / 15, 7, [-1, -8]),
    ([2, 2], "int8", False, 2 / 255, -128, [127, 127]),
    ([-2, -2], "int8", False, 2 / 255, 127, [-128, -128]),
]


@pytest.mark.parametrize(("values", "name", "symmetric", "s", "z", "codes"), BY_HAND)
def test_scale_zero_point_and_codes_by_hand(values, name, symmetric, s, z, codes):
    parameters, found = quantized(values, name, symmetric=symmetric)
    assert parameters.scale.tolist() == pytest.approx([s], rel=1e-15)
    assert (None if parameters.zero_point is None else parameters.zero_point.tolist()) == (
        None if z is None else [z]
    )
    assert found == codes


def test_ties_go_to_the_even_code():
    _, codes = quantized([127, 0.5, 1.5, 2.5, -0.5, -1.5], "int8", symmetric=True)
    assert codes == [127, 0, 2, 2, 0, -2]


def test_rounding_comes_before_the_zero_point_is_added():
    # s = 1, z = 1: 0.5 rounds to 0 and becomes 1. Added first, 1.5 would round to 2.
    parameters, codes = quantized([0.5, -9, 6], "int4", symmetric=False)
    assert (parameters.scale.item(), parameters.zero_point.item()) == (1, 1)
    assert codes == [1, -8, 7]


@pytest.mark.parametrize(("name", "zero_point"), [("int8", None), ("uint8", [127]), ("uint4", [7])])
def test_zeros_have_scale_0_and_code_0_on_symmetric_grids(name, zero_point):
    parameters, codes = quantized([0, 0, 0], name, symmetric=True)
    assert parameters.scale.tolist() == [0]
    assert codes == [0, 0, 0]
    assert zero_point == (None if parameters.zero_point is None else parameters.zero_point.tolist())


@pytest.mark.parametrize("name", ["int8", "uint8", "int4", "uint4"])
def test_zeros_have_zero_point_0_on_linear_grids(name):
    parameters, codes = quantized([0, 0], name, symmetric=False)
    assert (parameters.scale.tolist(), parameters.zero_point.tolist(), codes) == ([0], [0], [0, 0])


def test_each_block_has_parameters_of_its_own():
    weight = np.array([[1, 2, 10, 20], [0, 4, 0, 0]], np.float32)
    grid = Grid.named("int8", symmetric=True)
    parameters = choose_qparams(weight, grid, (1, 2))
    assert parameters.scale.tolist() == [[4 / 254, 40 / 254], [8 / 254, 0]]
    assert quantize(weight, parameters, grid).tolist() == [[64, 127, 64, 127], [0, 127, 0, 0]]


def test_dequantized_is_code_minus_zero_point_times_scale():
    parameters = QuantizationParameters(np.array([[0.5], [2.0]]), np.array([[10], [0]], np.uint8))
    restored = dequantize(np.array([[10, 0, 255], [1, 2, 3]], np.uint8), parameters)
    assert restored.tolist() == [[0, -5, 122.5], [2, 4, 6]]


def test_the_arithmetic_is_float64_unless_asked_otherwise():
    weight = np.array([1, 3], np.float16)
    grid = Grid.named("uint8", symmetric=False)
    assert choose_qparams(weight, grid, (0,)).scale.tolist() == [3 / 255]
    narrow = choose_qparams(weight, grid, (0,), np.float16).scale
    assert narrow.dtype == np.float16
    assert narrow.tolist() == [float(np.float16(3) / np.float16(255))]
