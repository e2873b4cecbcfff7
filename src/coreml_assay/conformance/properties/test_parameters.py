"""Scale and zero point: their values, dtypes and shapes, at any magnitude."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from coreml_assay.conformance.strategies import (
    GRIDS,
    ONE_SIDED,
    ZEROS,
    Case,
    cases,
    grid_id,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import (
    coverage_steps,
    scale_relative,
    zero_point_codes,
)
from coreml_assay.numerics import (
    Grid,
    QuantizationParameters,
    choose_qparams,
    dequantize,
    parameter_shape,
)
from coreml_assay.numerics.affine import block_range

pytestmark = pytest.mark.parametrize("grid", GRIDS, ids=grid_id)

# float16 reaches from 6e-8 to 65504, and its own arithmetic fails at both ends.
_LARGEST = float(np.finfo(np.float16).max)


@pytest.mark.clause("Q.3", "Q.4")
@example(case=ZEROS)
@given(case=cases())
def test_the_scale_spreads_the_grid_over_the_block(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    found = tensor_subject.quantize_weight(case.weight, grid, case.block_shape).scale
    exact = choose_qparams(case.weight, grid, case.block_shape).scale
    error = np.abs(found.astype(np.float64) - exact)
    tensor_subject.expect(
        found.shape == exact.shape
        and bool((error <= exact * scale_relative(case.weight.dtype)).all()),
        "a scale is not the block's range over the grid's steps",
        expected=exact,
        found=found,
    )


@pytest.mark.clause("Q.5")
@example(case=ONE_SIDED)
@given(case=cases())
def test_the_zero_point_is_where_zero_falls(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    found = tensor_subject.quantize_weight(case.weight, grid, case.block_shape).zero_point
    A, B = (bound.astype(np.float64) for bound in block_range(case.weight, grid, case.block_shape))
    if not grid.stores_zero_point:
        tensor_subject.expect(
            found is None, "a signed symmetric grid has a zero point", expected=None, found=found
        )
        return
    if found is None:
        tensor_subject.fail("there is no zero point", expected="one for each block", found=None)
    nonzero = B > A  # a block of zeros may have any
    if grid.symmetric:
        exact, tolerance = np.full(A.shape, float(grid.middle)), 0.0
    else:
        span = np.where(nonzero, B - A, 1)
        exact = np.clip((grid.lowest * B - grid.highest * A) / span, grid.lowest, grid.highest)
        tolerance = zero_point_codes(grid, case.weight.dtype)
    error = np.abs(found.astype(np.float64) - exact)[nonzero]
    tensor_subject.expect(
        float(error.max(initial=0)) <= tolerance,
        "a zero point is not where zero falls on the grid",
        expected=exact,
        found=found,
    )


@pytest.mark.clause("Q.8")
@given(case=cases())
def test_parameters_have_their_shapes_and_dtypes(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    found = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    shape = parameter_shape(case.weight.shape, case.block_shape)
    expected = [
        ("codes", found.codes, case.weight.shape, grid.dtype),
        ("the scale", found.scale, shape, case.weight.dtype),
    ]
    if found.zero_point is not None:
        expected.append(("the zero point", found.zero_point, shape, grid.dtype))
    for what, array, wanted_shape, dtype in expected:
        tensor_subject.expect_equal(array.shape, wanted_shape, f"the shape of {what}")
        tensor_subject.expect_equal(array.dtype, dtype, f"the dtype of {what}")


@pytest.mark.clause("Q.16")
@example(values=[-_LARGEST, _LARGEST])
@given(values=st.lists(st.floats(-_LARGEST, _LARGEST, width=16), min_size=1, max_size=4))
def test_any_float16_magnitude_is_representable(
    tensor_subject: Subject, grid: Grid, values: list[float]
) -> None:
    weight = np.array([values], np.float16)
    assume(np.abs(weight).max() > _LARGEST / 2 or np.abs(weight).max() < 1e-6)
    _expect_finite_scales_and_small_errors(tensor_subject, grid, weight)


@pytest.mark.clause("Q.16")
@pytest.mark.parametrize("magnitude", [3e38, 2e36, 1e-38, 1e-44])
def test_any_float32_magnitude_is_representable(
    tensor_subject: Subject, grid: Grid, magnitude: float
) -> None:
    weight = np.array([[1, -1, 0.5, 0]], np.float32) * np.float32(magnitude)
    _expect_finite_scales_and_small_errors(tensor_subject, grid, weight)


def _expect_finite_scales_and_small_errors(
    subject: Subject, grid: Grid, weight: np.ndarray[tuple[int, ...], np.dtype[np.floating]]
) -> None:
    codes, scale, zero_point = subject.quantize_weight(weight, grid, (1, 0))
    nonzero = np.abs(weight).max() > 0
    subject.expect(
        bool(np.isfinite(scale).all() and ((scale > 0).all() or not nonzero)),
        "the scale is not a finite number above zero",
        expected="a finite scale above zero",
        found=scale,
    )
    restored = dequantize(codes, QuantizationParameters(scale, zero_point))
    step = scale.astype(np.float64)
    # Near the dtype's smallest number a scale has few bits: its own rounding is half of that.
    smallest = float(np.finfo(weight.dtype).smallest_subnormal)
    allowed = coverage_steps(grid, weight.dtype) * step + grid.steps * smallest / 2
    error = np.abs(weight.astype(np.float64) - restored)
    subject.expect(
        bool((error <= allowed).all()),
        "a weight lies more than half a step from what its code stands for",
        expected=weight,
        found=restored,
    )
