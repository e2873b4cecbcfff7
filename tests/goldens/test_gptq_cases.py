"""The golden cases of GPTQ are what they are said to be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from coreml_assay.conformance import tolerances
from coreml_assay.goldens.gptq import arguments_of
from coreml_assay.goldens.near_ties import clear_rows, clearances
from coreml_assay.goldens.store import frozen_goldens

GOLDENS = frozen_goldens("coremltools-9.0/gptq")
CASES = GOLDENS.cases


def kinds(cases):
    return {(case.bits, case.symmetric, case.block_size, case.activation_order) for case in cases}


def test_there_is_a_case_for_each_spec():
    switch = (False, True)
    assert kinds(CASES.clear) == set(product((4, 8), switch, (0, 32, 128), switch))
    assert kinds(CASES.ordinary) == set(product((4, 8), switch, (0, 32), switch))
    assert kinds(CASES.saturating) == set(product((4, 8), (True,), (0,), switch))


@pytest.mark.parametrize("case", CASES.clear, ids=lambda case: case.name)
def test_clear_rows_stay_clear_of_near_ties(case):
    assert clearances(*arguments_of(case, GOLDENS.arrays)).min() > tolerances.GPTQ_CLEARANCE


@pytest.mark.parametrize("columns", [64, 128, 256])
def test_no_two_columns_could_change_places_in_the_activation_order(columns):
    X = GOLDENS.arrays[f"x{columns}"].astype(np.float64).reshape(-1, columns)
    sizes = np.sort((X**2).sum(axis=0))
    assert (np.diff(sizes) / sizes[1:]).min() > 1e-3


@pytest.mark.parametrize("case", CASES.saturating, ids=lambda case: case.name)
def test_saturating_cases_saturate(case):
    assert GOLDENS.arrays[case.weight].min() >= 0
    codes = GOLDENS.arrays[f"{case.name}.codes"]
    assert (codes == case.spec.grid.highest).mean() > 0.15


def test_a_row_at_a_tie_is_not_clear():
    inputs, spec = [np.eye(3, dtype=np.float32)], CASES.clear[0].spec
    weight = np.array([[7.5, 1.0, 2.5], [7.5, 1.0, 2.4]], np.float32)
    assert clearances(weight, inputs, spec) == pytest.approx([0, 0.1], abs=1e-6)
    assert clear_rows(weight, inputs, [spec], 1, 0.05).tolist() == weight[1:].tolist()
    with pytest.raises(ValueError, match="only 1 of 2 rows are clear"):
        clear_rows(weight, inputs, [spec], 2, 0.05)
