"""GPTQ beside coremltools' own and the oracle in float64, on many layers and under every spec.

Rounding a column changes all later ones, so one target that float32 puts on the other side of the
middle between two codes changes up to half of what follows in its row. So codes are compared where
no target comes near such a tie, and counted elsewhere; of the loss all of it is compared.
"""

from __future__ import annotations

from itertools import product

import attrs
import gptq_helpers as helpers
import numpy as np
import pytest
import torch

from coreml_assay.conformance.layerwise_quantizing import proxy_losses, values_of
from coreml_assay.goldens.near_ties import clearances
from coreml_assay.implementations import CalibratedWeightSpec
from coreml_assay.implementations.coremltools import CoreMLTools
from coreml_assay.implementations.reference import Reference
from coreml_assay.numerics import Grid
from coreml_assay.numerics.gptq import GPTQSpec, oracle

NEAR_TIE = 1e-4  # steps; 6.5e-5 was the farthest from a tie that float32 fell on the other side
TIE = 1e-9  # steps; float64 falls on either side
LAYERS = 6
SWITCH = (False, True)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def specs():
    """uint4 and uint8, symmetric and affine, rows and blocks, in order and not."""
    for bits, symmetric, block, order in product((4, 8), SWITCH, (0, 32, 128), SWITCH):
        grid = Grid(bits, signed=False, symmetric=symmetric, all_codes=symmetric)
        # In larger groups coremltools takes scales from weights that are out of date.
        yield CalibratedWeightSpec(grid, (1, block), order, processing_group_size=block or 128)


@attrs.frozen
class Comparison:
    """One layer under one spec.

    Attributes:
        share: of codes that are equal, with one thread and with two.
        loss_ratio: ours over theirs, with one thread and with two.
        clearance: the farthest from a near-tie of any row whose codes differ.
        same_bits: whether ours are those of one thread with two.
        rows_off: rows whose codes are not the oracle's, ours and theirs.
        loss_off: by how much the loss of all rows is off the oracle's, relative, ours and theirs.
    """

    share: tuple[float, float]
    loss_ratio: tuple[float, float]
    clearance: float
    same_bits: bool
    rows_off: tuple[int, int]
    loss_off: tuple[float, float]


def compare(weight, inputs, spec):
    ours, theirs = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ours.append(Reference().gptq(weight, inputs, spec))
        theirs.append(CoreMLTools().gptq(weight, inputs, spec))
    X = np.concatenate(inputs).astype(np.float64)
    H, clear = X.T @ X, clearances(weight, inputs, spec)
    asked = GPTQSpec(
        spec.grid, block_columns=spec.block_shape[1] or None, activation_order=spec.activation_order
    )
    exact = oracle.quantize(torch.from_numpy(weight), torch.from_numpy(H), asked).numpy()
    losses = [
        [proxy_losses(weight, values_of(each), H) for each in kind] for kind in (ours, theirs)
    ]
    exact_losses = proxy_losses(weight, exact, H)
    steps = np.repeat(ours[0].scale, weight.shape[1] // ours[0].scale.shape[1], axis=1)
    decided = clear > TIE
    different = [(a.codes != b.codes).any(axis=1) for a, b in zip(ours, theirs, strict=True)]
    return Comparison(
        share=tuple(float((a.codes == b.codes).mean()) for a, b in zip(ours, theirs, strict=True)),
        loss_ratio=tuple(float(a.sum() / b.sum()) for a, b in zip(*losses, strict=True)),
        clearance=float(clear[different[0] | different[1]].max(initial=0)),
        same_bits=all(np.array_equal(a, b) for a, b in zip(*ours, strict=True)),
        rows_off=tuple(
            int(((np.abs(values_of(kind[0]) - exact) > steps / 2).any(axis=1) & decided).sum())
            for kind in (ours, theirs)
        ),
        loss_off=tuple(
            float(abs((kind[0] - exact_losses)[decided].sum()) / exact_losses.sum())
            for kind in losses
        ),
    )


def layer(size, seed, **options):
    """A layer whose columns' inputs differ in size, so that their order is not in doubt."""
    weight, inputs = helpers.layer(size, size, seed=seed, **options)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    inputs *= torch.linspace(1, 2, size)[order] / inputs.square().mean((0, 1)).sqrt()
    return weight.numpy(), list(inputs.numpy())


@pytest.fixture(scope="module")
def layers():
    """The comparisons of each layer, one for each spec."""
    before = torch.get_num_threads()
    found = []
    try:
        for seed in range(LAYERS):
            weight, inputs = layer(256, seed)
            found.append([compare(weight, inputs, spec) for spec in specs()])
    finally:
        torch.set_num_threads(before)
    return found


def test_codes_differ_only_in_rows_with_a_near_tie(layers):
    assert max(each.clearance for layer in layers for each in layer) < NEAR_TIE


def test_nearly_all_codes_of_each_layer_are_those_of_coremltools(layers):
    for layer in layers:
        shares = np.array([each.share for each in layer])
        assert shares.mean(axis=0).min() >= 0.999


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="near-ties; the fewest equal codes are 99.65%"
)
def test_nearly_all_codes_of_each_spec_are_those_of_coremltools(layers):
    assert np.min([each.share for layer in layers for each in layer]) >= 0.999


def test_the_loss_is_that_of_coremltools(layers):
    ratios = np.array([[each.loss_ratio for each in layer] for layer in layers])
    assert ratios.mean(axis=1).max() <= 1.001
    assert ratios.mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="near-ties; the largest ratio is 1.00126"
)
def test_the_loss_of_each_spec_is_that_of_coremltools(layers):
    assert np.max([each.loss_ratio for layer in layers for each in layer]) <= 1.001


def test_the_bits_are_the_same_with_one_and_two_threads(layers):
    assert all(each.same_bits for layer in layers for each in layer)


def test_ours_are_closer_to_the_oracle_than_those_of_coremltools(layers):
    rows = np.array([each.rows_off for layer in layers for each in layer]).sum(axis=0)
    losses = np.array([each.loss_off for layer in layers for each in layer]).sum(axis=0)
    assert rows[0] <= rows[1]
    assert losses[0] <= losses[1]


@pytest.mark.parametrize("symmetric", SWITCH)
def test_a_large_layer_has_nearly_all_codes_of_coremltools(symmetric):
    weight, inputs = layer(4096, 0, samples=4, tokens=1024)
    grid = Grid(4, signed=False, symmetric=symmetric, all_codes=symmetric)
    spec = CalibratedWeightSpec(grid, (1, 128))
    ours, theirs = (each.gptq(weight, inputs, spec) for each in (Reference(), CoreMLTools()))
    assert (ours.codes == theirs.codes).mean() >= 0.995
    X = torch.from_numpy(np.concatenate(inputs))
    losses = [
        float((X @ torch.from_numpy(weight - values_of(each)).float().t()).square().sum())
        for each in (ours, theirs)
    ]
    assert losses[0] <= 1.001 * losses[1]
