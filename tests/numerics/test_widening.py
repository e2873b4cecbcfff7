"""Blocks whose scale or zero point the weight's own dtype cannot compute."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.numerics import Grid, QuantizationParameters, choose_qparams, dequantize, rounding
from coreml_assay.numerics import round_to_nearest as quantize
from coreml_assay.numerics.affine import block_range, out_of_precision

INT8 = Grid.named("int8", symmetric=True)
INT8_LINEAR = Grid.named("int8", symmetric=False)
UINT8 = Grid.named("uint8", symmetric=True)
UINT8_LINEAR = Grid.named("uint8", symmetric=False)

# values, dtype, grid: codes, zero point
EXTREME = [
    ([40000, -40000, 315], np.float16, INT8, [127, -127, 1], None),
    ([40000, -40000, 315], np.float16, UINT8, [254, 0, 128], 127),
    ([40000, -40000, 314], np.float16, INT8_LINEAR, [127, -127, 1], 0),
    ([600, -600, 4.7], np.float16, INT8_LINEAR, [127, -127, 1], 0),
    ([600, -1, 4.7], np.float16, INT8_LINEAR, [127, -128, -126], -128),
    ([-300, 100, 0], np.float16, UINT8_LINEAR, [0, 255, 191], 191),
    ([3e38, -3e38, 2.4e36], np.float32, INT8, [127, -127, 1], None),
    ([3e38, -3e38, 2.4e36], np.float32, INT8_LINEAR, [127, -128, 1], 0),
    # A scale below the smallest number is raised to it, and codes count smallest numbers.
    ([3e-7, -6e-8, 0], np.float16, INT8, [5, -1, 0], None),
    ([3e-7, -6e-8, 0], np.float16, UINT8, [132, 126, 127], 127),
    ([1e-44, -1.4e-45, 0], np.float32, INT8, [7, -1, 0], None),
    ([3e-7, -6e-8, 0], np.float16, UINT8_LINEAR, [47, 41, 42], 42),
    # In float32 the second one is 8.5 steps; by the scale it has, it is 8.5000003.
    ([3e38, 2.0078741e37], np.float32, INT8, [127, 9], None),
]

WAYS = {"torch": lambda name: True, "numpy": lambda name: None}


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    """With PyTorch and without; the kernels leave such blocks to these two."""
    monkeypatch.setattr(rounding, "find_spec", WAYS[request.param])


@pytest.mark.parametrize(("values", "dtype", "grid", "codes", "zero_point"), EXTREME)
def test_extreme_magnitudes_by_hand(values, dtype, grid, codes, zero_point):
    found = quantize(np.array(values, dtype), grid, (0,))
    assert found.codes.tolist() == codes
    assert (None if found.zero_point is None else found.zero_point.item()) == zero_point


@pytest.mark.parametrize(("values", "dtype", "grid", "codes", "zero_point"), EXTREME)
def test_extreme_magnitudes_come_back_within_half_a_step(values, dtype, grid, codes, zero_point):
    weight = np.array(values, dtype)
    found = quantize(weight, grid, (0,))
    assert np.isfinite(found.scale).all()
    assert (found.scale > 0).all()
    parameters = QuantizationParameters(found.scale, found.zero_point)
    error = np.abs(dequantize(found.codes, parameters) - weight.astype(np.float64))
    # A float16 scale is off by up to one part in 2048, which 128 steps add up to 1/16.
    assert (error <= (0.5 + 1 / 16) * found.scale.astype(np.float64)).all()


@pytest.mark.parametrize(("values", "dtype", "grid", "codes", "zero_point"), EXTREME)
def test_these_magnitudes_do_need_the_wider_dtype(values, dtype, grid, codes, zero_point):
    A, B = block_range(np.array(values, dtype), grid, (0,))
    assert out_of_precision(A, B, grid).all()


def test_float16_is_widened_to_float32():
    # 143.9375 in float32, half-way between two float16 numbers, and a little less in float64.
    weight = np.array([-0.06244, 36700], np.float16)
    assert quantize(weight, INT8_LINEAR, (0,)).scale.tolist() == [144]


def test_the_scale_is_the_float64_one_rounded_to_the_dtype():
    weight = np.array([40000, -40000], np.float16)
    exact = choose_qparams(weight, INT8, (0,)).scale
    assert quantize(weight, INT8, (0,)).scale.tolist() == exact.astype(np.float16).tolist()


@pytest.mark.parametrize("grid", [INT8, INT8_LINEAR, UINT8, UINT8_LINEAR], ids=str)
@pytest.mark.parametrize(
    ("dtype", "extreme"), [(np.float16, 40000), (np.float16, 3e-7), (np.float32, 3e38)]
)
def test_blocks_beside_a_widened_one_are_unaffected(dtype, extreme, grid):
    rows = np.random.default_rng(0).standard_normal((4, 32)).astype(dtype)
    rows[2] = np.linspace(-extreme, extreme, 32)
    together = quantize(rows, grid, (1, 0))
    for i, row in enumerate(rows):
        alone = quantize(row[None], grid, (1, 0))
        for part, own in zip(together, alone, strict=True):
            assert part is own is None or part[i].tobytes() == own[0].tobytes()


def test_a_block_of_zeros_is_not_widened():
    found = quantize(np.array([[0, 0], [40000, -40000]], np.float16), INT8, (1, 0))
    assert found.scale[0].item() == 0
    assert found.codes.tolist() == [[0, 0], [127, -127]]
