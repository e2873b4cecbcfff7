"""What transformations of a weight do to its codes, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from coreml_assay.conformance.strategies import (
    GRIDS,
    MOST_NEGATIVE,
    NEARLY_EVEN,
    VANISHING,
    ZEROS,
    Case,
    cases,
    grid_id,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.numerics import Grid, QuantizationParameters, dequantize

SYMMETRIC = [grid for grid in GRIDS if grid.symmetric]


@pytest.mark.clause("Q.11")
@pytest.mark.parametrize("grid", SYMMETRIC, ids=grid_id)
@example(case=MOST_NEGATIVE)
@given(case=cases())
def test_negating_a_weight_negates_its_codes(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    assume(case.weight.any())  # the code of zero in a block of zeros is free
    plain = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    negated = tensor_subject.quantize_weight(-case.weight, grid, case.block_shape)
    restored = dequantize(plain.codes, QuantizationParameters(plain.scale, plain.zero_point))
    opposite = dequantize(negated.codes, QuantizationParameters(negated.scale, negated.zero_point))
    tensor_subject.expect_equal(-opposite + 0.0, restored + 0.0, "what the negated weight becomes")


@pytest.mark.clause("Q.11")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
@example(case=ZEROS, exponent=-1)
@given(case=cases(), exponent=st.sampled_from([-1, 1]))
def test_a_power_of_two_scales_only_the_scale(
    tensor_subject: Subject, grid: Grid, case: Case, exponent: int
) -> None:
    factor = case.weight.dtype.type(2.0**exponent)
    plain = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    scaled = tensor_subject.quantize_weight(case.weight * factor, grid, case.block_shape)
    tensor_subject.expect_equal(scaled.codes, plain.codes, f"codes of {factor} times the weight")
    tensor_subject.expect_equal(scaled.scale, plain.scale * factor, f"{factor} times the scale")


@pytest.mark.clause("Q.12")
@pytest.mark.parametrize("grid", SYMMETRIC, ids=grid_id)
@example(case=NEARLY_EVEN)
@example(case=VANISHING)
@given(case=cases())
def test_quantizing_twice_gives_the_same_codes(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    once = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    parameters = QuantizationParameters(once.scale, once.zero_point)
    restored = dequantize(once.codes, parameters, np.float32).astype(case.weight.dtype)
    twice = tensor_subject.quantize_weight(restored, grid, case.block_shape)
    tensor_subject.expect_equal(twice.codes, once.codes, "the codes of what codes stand for")


@pytest.mark.clause("Q.14")
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "linear"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@given(case=cases())
def test_more_bits_make_smaller_steps(
    tensor_subject: Subject, signed: bool, symmetric: bool, case: Case
) -> None:
    scales = [
        tensor_subject.quantize_weight(
            case.weight, Grid(bits, signed, symmetric), case.block_shape
        ).scale
        for bits in (4, 8)
    ]
    tensor_subject.expect(
        bool((scales[1] <= scales[0]).all()),
        "8 bits have a larger step than 4",
        expected=f"steps of at most {scales[0]}",
        found=scales[1],
    )


@pytest.mark.clause("Q.15")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
@given(case=cases())
def test_the_given_array_is_not_changed(tensor_subject: Subject, grid: Grid, case: Case) -> None:
    before = case.weight.copy()
    tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    tensor_subject.expect_equal(case.weight, before, "the array after the call")


@pytest.mark.clause("Q.15")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
@given(case=cases())
def test_memory_layout_does_not_matter(tensor_subject: Subject, grid: Grid, case: Case) -> None:
    plain = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    strided = np.repeat(case.weight, 2, axis=-1)[..., ::2]
    for layout in (np.asfortranarray(case.weight), strided):
        found = tensor_subject.quantize_weight(layout, grid, case.block_shape)
        tensor_subject.expect_equal(
            np.ascontiguousarray(found.codes), np.ascontiguousarray(plain.codes), "codes"
        )
        tensor_subject.expect_equal(found.scale, plain.scale, "scales of another memory layout")
