"""Scales and zero points of blocks by hand; the search for a scale, against trying them all."""

from __future__ import annotations

import gptq_helpers as helpers
import pytest
import torch

from coreml_assay.numerics.gptq import quantize
from coreml_assay.numerics.gptq.parameters import Rounder

ROWS = [[1.0, 2.0], [-2.0, -1.0], [-1.0, 3.0], [0.0, 0.0], [0.5, 0.5], [-3.0, 0.0], [0.0, 6.0]]
SHRINKS = [1 - step / 50 for step in range(36)]


def rounder(**options):
    return Rounder.of(helpers.spec(**options), torch.device("cpu"))


def parameters(**options):
    scale, zero = rounder(bits=4, **options).parameters(torch.tensor(ROWS).t())
    return scale, zero.tolist()


def test_an_affine_range_is_that_of_the_values_and_zero():
    scale, zero = parameters(symmetric=False)
    torch.testing.assert_close(scale, torch.tensor([2, 2, 4, 2, 0.5, 3, 6]) / 15)
    assert zero == [0, 15, 4, 7, 0, 15, 0]  # 7.4999995 of the range [-1, 1] in float32


def test_a_symmetric_range_is_that_of_the_largest_magnitude_to_both_sides():
    scale, zero = parameters(symmetric=True)
    torch.testing.assert_close(scale, torch.tensor([2, 2, 3, 1, 0.5, 3, 6]) * 2 / 15)
    assert zero == [8] * 7


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("exponent", [58, 124])
def test_a_power_of_two_changes_no_digit(sign, exponent):
    weight, inputs = helpers.layer(8, 16)
    weight = sign * weight.abs()  # all magnitude is on one side
    weight[0, 0] = 0
    matrix, spec = helpers.hessian(inputs), helpers.spec(symmetric=False, scale_search=True)
    small, large = (quantize(weight * 2.0**each, matrix, spec) for each in (0, exponent))
    assert torch.equal(large.codes, small.codes)
    assert torch.equal(large.zero_point, small.zero_point)
    assert torch.equal(large.scale, small.scale * 2.0**exponent)
    assert torch.equal(large.weight, small.weight * 2.0**exponent)


def losses(found, block, scales, zero, weights):
    """The weighted squared error of each row, one by one in float64, for a scale each."""
    steps = block.double() / scales.double() + zero.double()
    values = (steps.round().clamp(0, found.highest) - zero.double()) * scales.double()
    return (weights.double()[:, None] * (values - block.double()) ** 2).sum(0)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4])
def test_no_shrunken_scale_is_better_than_the_one_found(symmetric, bits):
    generator = torch.Generator().manual_seed(bits)
    block = torch.randn(64, 50, generator=generator)
    weights = torch.rand(64, generator=generator)
    found = rounder(bits=bits, symmetric=symmetric)
    scale, zero = found.parameters(block)
    searched = found.searched(block, scale, zero, weights)
    shrinks = (searched / scale).tolist()
    assert all(min(abs(shrink - each) for each in SHRINKS) < 1e-6 for shrink in shrinks)
    assert len({round(50 * shrink) for shrink in shrinks}) > 5
    mine = losses(found, block, searched, zero, weights)
    for shrink in SHRINKS:
        # float32 takes one of two losses for the less that differ by its rounding.
        assert (mine <= losses(found, block, scale * shrink, zero, weights) * (1 + 1e-4)).all()


def test_of_scales_that_are_as_good_the_largest_is_kept():
    found = rounder(symmetric=True)
    block = torch.zeros(8, 2)
    scale, zero = found.parameters(block)
    assert torch.equal(found.searched(block, scale, zero, torch.ones(8)), scale)


def test_one_scale_for_all_rows_is_searched_for_by_all_of_them():
    generator = torch.Generator().manual_seed(3)
    weight, diagonal = (torch.randn(6, 10, generator=generator), torch.logspace(-3, 1, 10))
    spec = helpers.spec(per_tensor=True, scale_search=True, hessian_dampening=0.0)
    found = quantize(weight, torch.diag(diagonal), spec)  # no column makes good another's error
    block, weights = weight.t().reshape(-1, 1), diagonal.repeat_interleave(6)
    scale, zero = rounder().parameters(block)
    expected = rounder().searched(block, scale, zero, weights)
    assert expected < scale
    torch.testing.assert_close(found.scale, expected.expand(6, 1))
