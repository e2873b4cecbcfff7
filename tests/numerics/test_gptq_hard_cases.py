"""Layers and inputs on which GPTQ is easily wrong."""

from __future__ import annotations

import gptq_helpers as helpers
import pytest
import torch

from coreml_assay.numerics import Grid
from coreml_assay.numerics.gptq import GPTQError, GPTQSpec, Hessian, quantize


def test_input_that_is_all_zero_rounds_to_nearest():
    weight, _ = helpers.layer(8, 32)
    result = quantize(weight, torch.zeros(32, 32), helpers.spec())
    rounded = quantize(weight, torch.eye(32), helpers.spec())
    assert result.dead.all()
    assert torch.equal(result.codes, rounded.codes)


def test_dead_column_is_rounded_to_nearest_and_changes_no_other():
    weight, inputs = helpers.layer(8, 32)
    inputs[..., 5] = 0
    inputs *= 1e-3  # a dead column must not count as a large one
    live = torch.arange(32) != 5
    weight[:, 5] *= 0.1
    result = quantize(weight, helpers.hessian(inputs), helpers.spec())
    alone = quantize(weight[:, live], helpers.hessian(inputs[..., live]), helpers.spec())
    assert result.dead.tolist() == (~live).tolist()
    assert torch.equal(result.codes[:, live], alone.codes)
    assert ((result.weight - weight)[:, 5].abs() <= result.scale[:, 0] * 0.5001).all()


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("dampening", [0.0, 0.01])
def test_rank_deficient_hessian(rank, dampening):
    weight, inputs = helpers.layer(8, 64, samples=1, tokens=rank)
    matrix = helpers.hessian(inputs)
    result = quantize(weight, matrix, helpers.spec(hessian_dampening=dampening))
    rounded = quantize(weight, torch.eye(64), helpers.spec())
    assert torch.isfinite(result.weight).all()
    assert helpers.loss(weight, result.weight, matrix) < helpers.loss(
        weight, rounded.weight, matrix
    )


def test_dampening_is_raised_in_steps_and_reported():
    weight, _ = helpers.layer(4, 3)
    matrix = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.05], [0.0, 1.05, 1.0]])
    result = quantize(weight, matrix, helpers.spec(hessian_dampening=0.0001))
    assert result.dampening == pytest.approx(0.1)
    assert result.dampening_raised == 3


def test_indefinite_hessian_is_refused():
    weight, _ = helpers.layer(4, 2)
    with pytest.raises(GPTQError, match=r"not positive definite even with dampening 1 times"):
        quantize(weight, torch.tensor([[1.0, 9.0], [9.0, 1.0]]), helpers.spec())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(value):
    weight, inputs = helpers.layer(4, 16, samples=3)
    matrix = helpers.hessian(inputs)
    inputs[2, 0, 0] = value
    gathered = Hessian(16)
    gathered.update(inputs[0])
    with pytest.raises(GPTQError, match="calibration sample 3 holds"):
        gathered.update(inputs)
    assert gathered.samples == 1
    weight[1, 1] = value
    with pytest.raises(GPTQError, match="the weight holds"):
        quantize(weight, matrix, helpers.spec())
    matrix[0, 1] = value
    with pytest.raises(GPTQError, match="the Hessian holds"):
        quantize(helpers.layer(4, 16)[0], matrix, helpers.spec())


def test_no_sample_and_wrong_shapes_are_refused():
    with pytest.raises(GPTQError, match="no calibration sample"):
        _ = Hessian(4).matrix
    with pytest.raises(GPTQError, match=r"inputs must have shape \(tokens, 4\)"):
        Hessian(4).update(torch.zeros(2, 5))
    with pytest.raises(GPTQError, match=r"inputs must be floating point, got torch\.int64"):
        Hessian(4).update(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(GPTQError, match="does not divide 16 columns"):
        quantize(torch.ones(2, 16), torch.eye(16), helpers.spec(block_columns=3))
    with pytest.raises(GPTQError, match="use all codes"):
        GPTQSpec(Grid(4, signed=False, symmetric=True))


@pytest.mark.parametrize("factor", [0.0, 1e-44, 1e-30, 1e20, 1e38])
@pytest.mark.parametrize("symmetric", [True, False])
def test_any_magnitude_gives_finite_scales_and_weights(factor, symmetric):
    weight, inputs = helpers.layer(8, 16)
    weight /= 2 * weight.abs().max()
    weight *= factor
    result = quantize(weight, helpers.hessian(inputs), helpers.spec(symmetric=symmetric))
    assert (result.scale > 0).all()
    assert torch.isfinite(result.weight).all()
    bound = 10 * (result.scale.double() / 2)
    assert ((result.weight.double() - weight.double()).abs() <= bound).all()


@pytest.mark.parametrize(
    ("options", "scale", "zero_point"),
    # The zero point of the second is 7.4999996 before it is rounded, in float32.
    [({}, 2 / 15, 8), ({"symmetric": False}, 2 / 15, 7), ({"normal_float": True}, 1, 0)],
)
def test_a_row_of_zeros_has_the_range_from_minus_1_to_1(options, scale, zero_point):
    weight, inputs = helpers.layer(3, 16)
    weight[1] = 0
    result = quantize(weight, helpers.hessian(inputs), helpers.spec(**options))
    assert result.scale[1].item() == pytest.approx(scale, rel=1e-6)
    assert result.zero_point[1].item() == zero_point
    assert (result.weight[1] == 0).all()


def test_symmetric_row_without_negatives_keeps_its_maximum():
    weight = torch.rand(8, 32, generator=torch.Generator().manual_seed(0)) + 0.1
    result = quantize(weight, torch.eye(32), helpers.spec(8))
    assert ((result.weight - weight).abs() <= result.scale * 0.5001).all()


@pytest.mark.parametrize(("option", "allowed"), [("static_scales", 1.02), ("scale_search", 0.98)])
def test_options_change_scales_and_what_they_do_to_the_loss(option, allowed):
    weight, inputs = helpers.layer(64, 256, tokens=128)
    matrix = helpers.hessian(inputs)
    default = quantize(weight, matrix, helpers.spec(block_columns=32))
    chosen = quantize(weight, matrix, helpers.spec(block_columns=32, **{option: True}))
    expected = allowed * helpers.loss(weight, default.weight, matrix)
    assert not torch.equal(default.scale, chosen.scale)
    assert helpers.loss(weight, chosen.weight, matrix) < expected


def test_one_scale_for_all_rows_per_tensor():
    weight, inputs = helpers.layer(8, 32)
    result = quantize(weight, helpers.hessian(inputs), helpers.spec(per_tensor=True))
    assert torch.equal(result.scale, torch.full((8, 1), float(2 * weight.abs().max() / 15)))


@pytest.mark.parametrize("bits", [3, 4])
def test_normal_float_takes_the_nearest_level(bits):
    weight, _ = helpers.layer(16, 64)
    result = quantize(weight, torch.eye(64), helpers.spec(bits, normal_float=True))
    distances = ((weight / result.scale)[..., None] - result.lut).abs()
    assert torch.equal(result.codes.long(), distances.argmin(-1))
    assert (result.scale[:, 0] == weight.abs().amax(1)).all()
