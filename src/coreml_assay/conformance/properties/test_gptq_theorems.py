"""Theorems of GPTQ, for any implementation that offers it on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coreml_assay.conformance import tolerances
from coreml_assay.conformance.layerwise_quantizing import (
    proxy_losses,
    random_data,
    random_weight,
    values_of,
)
from coreml_assay.conformance.strategies import ordinary_floats
from coreml_assay.conformance.subject import Subject
from coreml_assay.goldens.near_ties import clear_rows
from coreml_assay.implementations import CalibratedWeightSpec
from coreml_assay.numerics import Grid, QuantizedWeight
from coreml_assay.numerics.blocks import Array, split_shape, spread

GRIDS = [
    Grid(bits, signed=False, symmetric=symmetric, all_codes=symmetric)
    for bits in (4, 8)
    for symmetric in (True, False)
]


def _grid_id(grid: Grid) -> str:
    return f"{grid.name}-{'symmetric' if grid.symmetric else 'affine'}"


every_grid = pytest.mark.parametrize("grid", GRIDS, ids=_grid_id)
every_order = pytest.mark.parametrize("order", [False, True], ids=["in_order", "activation_order"])


def _spec(grid: Grid, block: int = 0, **options: Any) -> CalibratedWeightSpec:
    return CalibratedWeightSpec(grid, (1, block), **options)


def _positions(weight: Array, found: QuantizedWeight, grid: Grid) -> Array:
    """Where on the grid each weight lies, between codes."""
    assert found.zero_point is not None
    split = weight.astype(np.float64).reshape(split_shape(weight.shape, found.scale.shape))
    positions = split / spread(found.scale.astype(np.float64)) + spread(found.zero_point)
    clipped: Array = np.clip(positions, grid.lowest, grid.highest).reshape(weight.shape)
    return clipped


@st.composite
def _matrices(draw: st.DrawFn) -> Array:
    """Weights of ordinary magnitudes, in up to three blocks of four columns."""
    shape = (draw(st.integers(1, 4)), 4 * draw(st.integers(1, 3)))
    return draw(hnp.arrays(np.float32, shape, elements=ordinary_floats(np.float32)))


@pytest.mark.clause("G.5")
@every_grid
@pytest.mark.parametrize("block", [0, 4])
def test_codes_and_parameters_have_their_form(
    tensor_subject: Subject, grid: Grid, block: int
) -> None:
    weight, inputs = random_weight(6, 16), random_data(40, 16)
    before = [array.copy() for array in (weight, *inputs)]
    found = tensor_subject.gptq(weight, inputs, _spec(grid, block))
    form = {name: (each.dtype, each.shape) for name, each in found._asdict().items()}
    blocks = (6, 4 if block else 1)
    expected = {
        "codes": (grid.dtype, weight.shape),
        "scale": (np.dtype(np.float32), blocks),
        "zero_point": (grid.dtype, blocks),
    }
    tensor_subject.expect_equal(form, expected, "the form of the result")
    inside = int(found.codes.min()) >= grid.lowest and int(found.codes.max()) <= grid.highest
    tensor_subject.expect(inside, "codes leave the grid", grid, found.codes)
    unchanged = all(map(np.array_equal, before, (weight, *inputs)))
    tensor_subject.expect(unchanged, "the arguments are changed", "no change", "a change")


@pytest.mark.clause("G.8")
@every_grid
@pytest.mark.parametrize(("block", "order"), [(0, False), (4, True)])
@given(weight=_matrices(), seed=st.integers(0, 9))
def test_a_diagonal_hessian_means_the_nearest_codes(
    tensor_subject: Subject, grid: Grid, block: int, order: bool, weight: Array, seed: int
) -> None:
    columns = weight.shape[1]
    diagonal = np.random.default_rng(seed).permutation(np.arange(1, columns + 1))
    inputs = [np.diag(diagonal).astype(np.float32)]
    found = tensor_subject.gptq(weight, inputs, _spec(grid, block, activation_order=order))
    error = np.abs(_positions(weight, found, grid) - found.codes).max()
    tensor_subject.expect(
        error <= tolerances.nearest_code_steps(grid, weight.dtype),
        "a code is not the nearest one",
        "at most half a step away",
        f"{error:.3f} steps away",
    )


@pytest.mark.clause("G.7")
@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.symmetric], ids=_grid_id)
@pytest.mark.parametrize("block", [0, 4])
def test_no_weight_saturates(tensor_subject: Subject, grid: Grid, block: int) -> None:
    weight, inputs = random_weight(6, 16), [np.eye(16, dtype=np.float32)]
    weight[2:4] = np.abs(weight[2:4])
    weight[4:6] = -np.abs(weight[4:6])
    found = tensor_subject.gptq(weight, inputs, _spec(grid, block))
    split = split_shape(weight.shape, found.scale.shape)
    error = np.abs(weight - values_of(found)).reshape(split) / spread(found.scale)
    tensor_subject.expect(
        bool(error.max() <= tolerances.coverage_steps(grid, weight.dtype)),
        "a weight lies more than half a step from what its code stands for",
        "at most 0.5 steps",
        f"{error.max():.3f} steps",
    )


@pytest.mark.clause("G.9")
@every_grid
@every_order
@pytest.mark.parametrize("block", [0, 16])
def test_order_and_batches_of_inputs_do_not_matter(
    tensor_subject: Subject, grid: Grid, order: bool, block: int
) -> None:
    spec = _spec(grid, block, activation_order=order, processing_group_size=16)
    inputs = random_data(12, 48, samples=8)
    inputs[0] *= 8
    weight = _clear_weight(inputs, spec)
    tokens = np.concatenate(inputs)
    others = {
        "in one batch": [tokens],
        "backwards": [tokens[::-1].copy()],
        "in uneven batches": np.split(tokens, [1, 30, 31, 80]),
        "in another order": inputs[3:] + inputs[:3],
    }
    expected = tensor_subject.gptq(weight, inputs, spec)
    for how, batches in others.items():
        found = tensor_subject.gptq(weight, batches, spec)
        _expect_same_codes(tensor_subject, found, expected, f"with the inputs {how}")


@pytest.mark.clause("G.10")
@every_grid
@pytest.mark.parametrize("size", [1, 5, 48])
@pytest.mark.parametrize("block", [0, 16])
def test_the_group_size_changes_no_code(
    tensor_subject: Subject, grid: Grid, block: int, size: int
) -> None:
    inputs = random_data(24, 48)
    sizes = [16, size]
    specs = [_spec(grid, block, processing_group_size=each) for each in sizes]
    weight = _clear_weight(inputs, specs[0])
    expected, found = (tensor_subject.gptq(weight, inputs, spec) for spec in specs)
    _expect_same_codes(tensor_subject, found, expected, f"in groups of {size} rather than 16")


def _clear_weight(inputs: Sequence[Array], spec: CalibratedWeightSpec) -> Array:
    """Eight rows that have one right answer."""
    candidates = random_weight(32, inputs[0].shape[1])
    return clear_rows(candidates, inputs, [spec], 8, tolerances.GPTQ_CLEARANCE)


def _expect_same_codes(
    subject: Subject, found: QuantizedWeight, expected: QuantizedWeight, how: str
) -> None:
    subject.expect_equal(found.codes, expected.codes, f"the array of codes {how}")
    subject.expect_equal(found.zero_point, expected.zero_point, f"the array of zero points {how}")


@pytest.mark.clause("G.11")
@every_grid
@every_order
@pytest.mark.parametrize("block", [0, 16])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_each_row_is_within_babais_bound(
    tensor_subject: Subject, grid: Grid, order: bool, block: int, seed: int
) -> None:
    weight, inputs = random_weight(8, 32, seed), np.concatenate(random_data(24, 32, seed=seed))
    # In each block two columns that correlate with nothing hold the ends of the range; the others
    # stay inside, whatever is made good in them.
    ends = [14, 15, 30, 31]
    weight[:, ends] = [-2, 2, -2, 2]
    inputs[:, ends] = 0
    inputs[: len(ends)] = np.eye(32, dtype=np.float32)[ends]
    spec = _spec(grid, block, activation_order=order, processing_group_size=16)
    found = tensor_subject.gptq(weight, [inputs], spec)
    H, r = _damped(inputs, spec)
    scale = np.repeat(found.scale.astype(np.float64), 32 // found.scale.shape[1], axis=1)
    bounds = 0.25 * ((scale * r) ** 2).sum(axis=1)
    losses = proxy_losses(weight, values_of(found), H)
    worst = float((losses / bounds).max())
    tensor_subject.expect(
        worst <= 1 + tolerances.GPTQ_LOSS,
        "the loss of a row exceeds Babai's bound",
        "at most the bound",
        f"{worst:.3f} times the bound",
    )


def _damped(inputs: Array, spec: CalibratedWeightSpec) -> tuple[Array, Array]:
    """H = L^T L, damped, and for each column its entry of L's diagonal in processing order."""
    X = inputs.astype(np.float64)
    H = X.T @ X
    diagonal = np.diag(H).copy()
    H += spec.hessian_dampening * diagonal.mean() * np.eye(len(H))
    order = np.argsort(-diagonal, kind="stable") if spec.activation_order else np.arange(len(H))
    R = np.linalg.cholesky(np.linalg.inv(H[order][:, order])).T  # the inverse of L^T
    r = np.empty(len(H))
    r[order] = 1 / np.diag(R)
    return H, r


@pytest.mark.clause("G.13")
@every_grid
@every_order
def test_the_loss_is_lower_than_that_of_the_nearest_codes(
    tensor_subject: Subject, grid: Grid, order: bool
) -> None:
    weight, inputs = random_weight(16, 48), random_data(96, 48)
    found = tensor_subject.gptq(weight, inputs, _spec(grid, activation_order=order))
    nearest = np.rint(_positions(weight, found, grid)).astype(grid.dtype)
    X = np.concatenate(inputs).astype(np.float64)
    loss, rounded = (
        float(proxy_losses(weight, values_of(each), X.T @ X).sum())
        for each in (found, found._replace(codes=nearest))
    )
    tensor_subject.expect(
        loss < tolerances.GPTQ_GAIN * rounded,
        "compensation gains little",
        f"below {tolerances.GPTQ_GAIN} of the loss {rounded:.4g} of rounding",
        f"{loss:.4g}",
    )
