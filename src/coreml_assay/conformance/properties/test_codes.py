"""Codes: on the grid, the nearest, in order, and true to zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given

from coreml_assay.conformance.strategies import (
    GRIDS,
    MOST_NEGATIVE,
    Case,
    cases,
    channel_cases,
    grid_id,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import coverage_steps, nearest_code_steps
from coreml_assay.numerics import Grid, QuantizationParameters, QuantizedWeight, dequantize
from coreml_assay.numerics.blocks import Array, split_shape, spread

pytestmark = pytest.mark.parametrize("grid", GRIDS, ids=grid_id)


@pytest.mark.clause("Q.1")
@example(case=MOST_NEGATIVE)
@given(case=cases())
def test_codes_lie_on_the_grid(tensor_subject: Subject, grid: Grid, case: Case) -> None:
    codes = tensor_subject.quantize_weight(case.weight, grid, case.block_shape).codes
    low, high = int(codes.min()), int(codes.max())
    tensor_subject.expect(
        grid.lowest <= low and high <= grid.highest,
        f"codes leave the grid of {grid_id(grid)}",
        expected=f"codes from {grid.lowest} to {grid.highest}",
        found=f"codes from {low} to {high}",
    )


@pytest.mark.clause("Q.1")
def test_both_ends_of_the_grid_are_reached(tensor_subject: Subject, grid: Grid) -> None:
    # A range of exactly one step for each step of the grid puts its ends on codes.
    middle = grid.middle if grid.symmetric else grid.lowest + grid.steps // 3
    weight = np.arange(grid.lowest - middle, grid.highest - middle + 1, dtype=np.float32)[None]
    codes = tensor_subject.quantize_weight(weight, grid, (1, 0)).codes
    expected = np.arange(grid.lowest, grid.highest + 1, dtype=grid.dtype)[None]
    tensor_subject.expect_equal(codes.astype(grid.dtype), expected, "the codes of a full grid")


@pytest.mark.clause("Q.2")
@example(case=MOST_NEGATIVE)
@given(case=cases())
def test_each_code_is_the_nearest(tensor_subject: Subject, grid: Grid, case: Case) -> None:
    found = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    wanted, scale, low, high = _in_steps(case.weight, found, grid)
    nearest = np.clip(wanted, low, high)
    error = np.abs(nearest - _offsets(found))
    worst = float(error[scale > 0].max(initial=0))
    tensor_subject.expect(
        worst <= nearest_code_steps(grid, case.weight.dtype),
        "a code is not the nearest one",
        expected=f"at most half a step away, codes near {nearest.ravel()[error.argmax()]:.3f}",
        found=f"{worst:.3f} steps away",
    )


@pytest.mark.clause("Q.2")
def test_halves_go_to_even(tensor_subject: Subject, grid: Grid) -> None:
    # Scale 1: the block spans the grid exactly, so every n + 1/2 is a tie.
    middle = grid.middle if grid.symmetric else (grid.lowest + grid.highest + 1) // 2
    ends = [grid.lowest - middle, grid.highest - middle]
    ties = [n + 0.5 for n in range(-3, 3)]
    weight = np.array([[*ends, *ties]], np.float32)
    found = tensor_subject.quantize_weight(weight, grid, (1, 0))
    expected = np.array([*ends, -2, -2, 0, 0, 2, 2])[None] + middle
    tensor_subject.expect_equal(
        found.codes.astype(np.int64), expected, "the code of a weight halfway between two codes"
    )


@pytest.mark.clause("Q.6")
@given(case=cases())
def test_zero_is_exact(tensor_subject: Subject, grid: Grid, case: Case) -> None:
    weight = case.weight.copy()
    weight.flat[0] = 0
    found = tensor_subject.quantize_weight(weight, grid, case.block_shape)
    zeros = _restore(found)[weight == 0]
    tensor_subject.expect(
        bool((zeros == 0).all()), "zero is not reproduced exactly", expected=0.0, found=zeros
    )


@pytest.mark.clause("Q.6")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_block_of_zeros_stays_zeros(tensor_subject: Subject, grid: Grid, dtype: str) -> None:
    weight = np.array([[0, 0, 0, 0], [1, -1, 2, 0]], dtype)
    found = tensor_subject.quantize_weight(weight, grid, (1, 0))
    restored = _restore(found)[0]
    tensor_subject.expect(
        bool((restored == 0).all()), "a block of zeros changes", expected=0.0, found=restored
    )


@pytest.mark.clause("Q.7")
@given(case=cases())
def test_every_weight_lies_within_half_a_step(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    found = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    wanted, scale, _, _ = _in_steps(case.weight, found, grid)
    error = np.abs(wanted - _offsets(found))
    worst = float(error[scale > 0].max(initial=0))
    tensor_subject.expect(
        worst <= coverage_steps(grid, case.weight.dtype),
        "a weight lies more than half a step from what its code stands for",
        expected="at most 0.5 steps",
        found=f"{worst:.3f} steps",
    )


@pytest.mark.clause("Q.13")
@given(case=channel_cases())
def test_codes_are_in_the_order_of_the_weights(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    weight = np.sort(case.weight, axis=1)
    codes = tensor_subject.quantize_weight(weight, grid, case.block_shape).codes
    falls = np.diff(codes.astype(np.int64), axis=1).min(initial=0)
    tensor_subject.expect(
        falls >= 0, "a larger weight gets a lower code", expected="codes that rise", found=codes
    )


def _restore(found: QuantizedWeight) -> Array:
    return dequantize(found.codes, QuantizationParameters(found.scale, found.zero_point))


def _in_steps(weight: Array, found: QuantizedWeight, grid: Grid) -> tuple[Any, ...]:
    """W / s, s, and the ends of the grid seen from the zero point, all of the weight's shape."""
    shape = split_shape(weight.shape, found.scale.shape)
    scale = np.broadcast_to(spread(found.scale.astype(np.float64)), shape).reshape(weight.shape)
    zero = np.broadcast_to(spread(_zero_points(found)), shape).reshape(weight.shape)
    steps = weight.astype(np.float64) / np.where(scale > 0, scale, 1)
    return steps, scale, grid.lowest - zero, grid.highest - zero


def _offsets(found: QuantizedWeight) -> Array:
    """Q - z, of the weight's shape."""
    shape = split_shape(found.codes.shape, found.scale.shape)
    zero = np.broadcast_to(spread(_zero_points(found)), shape).reshape(found.codes.shape)
    offsets: Array = found.codes.astype(np.int64) - zero
    return offsets


def _zero_points(found: QuantizedWeight) -> Array:
    if found.zero_point is None:
        return np.zeros(found.scale.shape, np.int64)
    return found.zero_point.astype(np.int64)
