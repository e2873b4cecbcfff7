"""Blocks: each on its own, in any order, and only where they fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.conformance.strategies import GRIDS, Case, cases, channel_cases, grid_id
from coreml_assay.conformance.subject import Subject
from coreml_assay.numerics import Grid, per_tensor

pytestmark = pytest.mark.parametrize("grid", GRIDS, ids=grid_id)


@pytest.mark.clause("Q.9")
@given(case=cases(), data=st.data())
def test_a_block_equals_the_same_block_alone(
    tensor_subject: Subject, grid: Grid, case: Case, data: st.DataObject
) -> None:
    whole = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    counts = whole.scale.shape
    index = tuple(data.draw(st.integers(0, count - 1)) for count in counts)
    block = tuple(
        slice(i * (length // count), (i + 1) * (length // count))
        for i, count, length in zip(index, counts, case.weight.shape, strict=True)
    )
    alone = tensor_subject.quantize_weight(
        case.weight[block].copy(), grid, per_tensor(case.weight.ndim)
    )
    tensor_subject.expect_equal(alone.codes, whole.codes[block].copy(), "codes of a block alone")
    tensor_subject.expect_equal(
        alone.scale.ravel()[0], whole.scale[index], "the scale of a block alone"
    )
    if whole.zero_point is not None and alone.zero_point is not None:
        tensor_subject.expect_equal(
            alone.zero_point.ravel()[0], whole.zero_point[index], "the zero point of a block alone"
        )


@pytest.mark.clause("Q.9")
@given(case=cases(max_rank=3))
def test_a_block_as_long_as_the_axis_is_the_whole_axis(
    tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    named = tuple(
        size or length for size, length in zip(case.block_shape, case.weight.shape, strict=True)
    )
    whole = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    found = tensor_subject.quantize_weight(case.weight, grid, named)
    tensor_subject.expect_equal(found.codes, whole.codes, "codes with block size = axis length")
    tensor_subject.expect_equal(found.scale, whole.scale, "scales with block size = axis length")


@pytest.mark.clause("Q.10")
@given(case=channel_cases(), data=st.data())
def test_permuting_channels_permutes_codes(
    tensor_subject: Subject, grid: Grid, case: Case, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(case.weight.shape[0])))
    plain = tensor_subject.quantize_weight(case.weight, grid, case.block_shape)
    permuted = tensor_subject.quantize_weight(case.weight[order], grid, case.block_shape)
    tensor_subject.expect_equal(permuted.codes, plain.codes[order], "codes of permuted channels")
    tensor_subject.expect_equal(permuted.scale, plain.scale[order], "scales of permuted channels")


@pytest.mark.clause("Q.18")
def test_blocks_that_do_not_fit_are_refused(tensor_subject: Subject, grid: Grid) -> None:
    weight = np.arange(30, dtype=np.float32).reshape(2, 15)
    tensor_subject.expect_raises(
        ValueError, lambda: tensor_subject.call_tensor_face(weight, grid, (1, 4))
    )


@pytest.mark.clause("Q.17")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_refused(
    tensor_subject: Subject, grid: Grid, value: float
) -> None:
    weight = np.array([[1, 2], [3, value]], np.float32)
    tensor_subject.expect_raises(
        ValueError, lambda: tensor_subject.call_tensor_face(weight, grid, (1, 0))
    )
