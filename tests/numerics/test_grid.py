"""The codes of every grid, as a table."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.numerics import Grid

# name, symmetric: lowest, highest, zero point in the middle, whether one is stored
TABLE = [
    ("int8", True, -127, 127, 0, False),
    ("int8", False, -128, 127, 0, True),
    ("uint8", True, 0, 254, 127, True),
    ("uint8", False, 0, 255, 127, True),
    ("int4", True, -7, 7, 0, False),
    ("int4", False, -8, 7, 0, True),
    ("uint4", True, 0, 14, 7, True),
    ("uint4", False, 0, 15, 7, True),
]


@pytest.mark.parametrize(("name", "symmetric", "lowest", "highest", "middle", "stores"), TABLE)
def test_codes_of_each_grid(name, symmetric, lowest, highest, middle, stores):
    grid = Grid.named(name, symmetric=symmetric)
    assert (grid.lowest, grid.highest, grid.steps) == (lowest, highest, highest - lowest)
    assert grid.middle == middle
    assert grid.stores_zero_point is stores


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_a_symmetric_grid_gives_up_one_code_and_has_as_many_on_each_side(bits, signed):
    grid = Grid(bits, signed, symmetric=True)
    assert grid.steps == 2**bits - 2
    assert grid.highest - grid.middle == grid.middle - grid.lowest


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_a_symmetric_grid_of_all_codes_has_one_more_below_its_middle(bits, signed):
    grid = Grid(bits, signed, symmetric=True, all_codes=True)
    assert (grid.lowest, grid.highest) == (Grid(bits, signed, symmetric=False).lowest, grid.highest)
    assert grid.steps == 2**bits - 1
    assert grid.middle - grid.lowest == grid.highest - grid.middle + 1 == 2 ** (bits - 1)


@pytest.mark.parametrize("signed", [True, False])
def test_a_grid_that_is_not_symmetric_has_all_codes_anyway(signed):
    plain, all_codes = (Grid(4, signed, symmetric=False, all_codes=each) for each in (False, True))
    assert (all_codes.lowest, all_codes.highest) == (plain.lowest, plain.highest)
    assert all_codes.middle == plain.middle


@pytest.mark.parametrize("name", ["int4", "uint4", "int8", "uint8"])
def test_a_named_grid_bears_its_name_and_fits_its_dtype(name):
    grid = Grid.named(name, symmetric=False)
    limits = np.iinfo(grid.dtype)
    assert grid.name == name
    assert limits.min <= grid.lowest < grid.highest <= limits.max


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 16])
def test_bits_outside_2_to_8_are_refused(bits):
    with pytest.raises(ValueError, match=rf"between 2 and 8, got {bits}$"):
        Grid(bits, signed=True, symmetric=True)


@pytest.mark.parametrize("name", ["int3", "INT8", "float8", ""])
def test_an_unknown_code_type_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"^code type must be .* got '{name}'$"):
        Grid.named(name, symmetric=True)


def test_whether_a_named_grid_is_symmetric_is_said_by_name():
    with pytest.raises(TypeError, match="positional argument"):
        Grid.named("int8", True)
