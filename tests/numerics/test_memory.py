"""Beside its result, rounding takes less memory than one more copy of the weight."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from coreml_assay.numerics import Grid, round_to_nearest

BYTES = 16 << 20
GRIDS = {"int8": Grid(8, True, True), "uint4 linear": Grid(4, False, False)}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("shape", "block_shape"),
    [
        ((1024, 4096), (0, 0)),
        ((1024, 4096), (1, 0)),
        ((1024, 4096), (0, 1)),
        ((1024, 4096), (1, 32)),
        ((1, 1024, 4096), (0, 1, 0)),
        ((4096, 64, 4, 4), (1, 0, 0, 0)),
        ((4 << 20,), (0,)),
        ((2, 2 << 20), (1, 0)),
        ((2, 2 << 20), (0, 32)),
    ],
)
def test_peak_memory_stays_below_one_copy_of_the_weight(shape, block_shape, grid):
    assert peak(np.ones(shape, np.float32), GRIDS[grid], block_shape) <= BYTES


def test_peak_memory_stays_below_one_copy_for_a_transposed_weight():
    assert peak(np.ones((4096, 1024), np.float32).T, GRIDS["int8"], (1, 0)) <= BYTES


def test_peak_memory_stays_below_one_copy_where_blocks_are_widened():
    weight = np.full((2048, 4096), 40000, np.float16)
    weight[:, ::2] = -40000
    assert peak(weight, GRIDS["int8"], (1, 0)) <= BYTES


def peak(weight, grid, block_shape):
    assert weight.nbytes == BYTES
    tracemalloc.start()
    try:
        round_to_nearest(weight, grid, block_shape)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
