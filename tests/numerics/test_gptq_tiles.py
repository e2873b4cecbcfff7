"""The parts that a symmetric matrix is cut into."""

from __future__ import annotations

import pytest
import torch

from coreml_assay.numerics.gptq.tiles import lower_tiles


@pytest.mark.parametrize("columns", [1, 5, 8, 9, 31, 2300])
@pytest.mark.parametrize("smallest", [1, 8, 128])
def test_lower_triangle_is_covered_once_and_the_upper_one_hardly(columns, smallest):
    smallest = smallest if columns < 100 else 128
    times = torch.zeros(columns, columns, dtype=torch.int32)
    tiles = lower_tiles(columns, smallest)
    for rows, across in tiles:
        times[rows, across] += 1
        assert 0 < max(rows.stop - rows.start, across.stop - across.start) <= 1024
    assert (times.tril() == torch.ones_like(times).tril()).all()
    assert times.triu(smallest).count_nonzero() == 0
    areas = [(rows.stop - rows.start) * (across.stop - across.start) for rows, across in tiles]
    assert areas == sorted(areas, reverse=True)
