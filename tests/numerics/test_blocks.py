"""Block shapes: one notion for per tensor, per channel and per block."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.numerics import (
    block_shape_problem,
    parameter_shape,
    per_block,
    per_channel,
    per_tensor,
)
from coreml_assay.numerics.blocks import split_shape, spread


def test_each_granularity_is_a_block_shape():
    assert per_tensor(3) == (0, 0, 0)
    assert per_channel(3, 1) == (0, 1, 0)
    assert per_channel(3, -1) == (0, 0, 1)
    assert per_block(4, 0, 1, 32) == (1, 32, 0, 0)
    assert per_block(4, -1, -2, 8) == (0, 0, 8, 1)


def test_a_block_of_size_0_along_the_input_axis_is_per_channel():
    assert per_block(3, 0, 1, 0) == per_channel(3, 0)


@pytest.mark.parametrize(
    ("shape", "block_shape", "blocks"),
    [
        ((6, 20), (0, 0), (1, 1)),
        ((6, 20), (1, 0), (6, 1)),
        ((6, 20), (1, 5), (6, 4)),
        ((6, 20), (6, 20), (1, 1)),
        ((90, 30, 2, 2), (1, 2, 0, 0), (90, 15, 1, 1)),
        ((5,), (1,), (5,)),
    ],
)
def test_the_parameters_have_one_entry_for_each_block(shape, block_shape, blocks):
    assert block_shape_problem(shape, block_shape) is None
    assert parameter_shape(shape, block_shape) == blocks


@pytest.mark.parametrize(
    ("block_shape", "says"),
    [
        ((0,), r"block shape \(0,\) has 1 sizes, but the weight of shape \(6, 20\) has 2 axes"),
        ((0, 0, 0), "has 3 sizes"),
        ((1, 13), "axis 1 has length 20, which block size 13 does not divide"),
        ((7, 0), "axis 0 has length 6, which block size 7 does not divide"),
        ((-1, 0), "block size -1 on axis 0 is negative"),
    ],
)
def test_blocks_that_do_not_fit_are_explained(block_shape, says):
    with pytest.raises(ValueError, match=says) as raised:
        parameter_shape((6, 20), block_shape)
    assert str(raised.value) == block_shape_problem((6, 20), block_shape)


def test_a_spread_parameter_meets_exactly_the_entries_of_its_block():
    parameter = np.arange(6).reshape(2, 3)
    split = np.zeros(split_shape((4, 9), parameter.shape), int) + spread(parameter)
    expected = np.repeat(np.repeat(parameter, 2, axis=0), 3, axis=1)
    np.testing.assert_array_equal(split.reshape(4, 9), expected)


def test_an_axis_of_length_0_has_no_blocks_of_no_entries():
    assert split_shape((0, 4), (0, 1)) == (0, 0, 1, 4)
