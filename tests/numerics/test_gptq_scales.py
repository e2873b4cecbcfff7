"""The search for a scale, against trying them all."""

from __future__ import annotations

import gptq_helpers as helpers
import pytest
import torch

from coreml_assay.numerics.gptq.parameters import Rounder

SHRINKS = [1 - step / 50 for step in range(36)]


def rounder(**options):
    return Rounder.of(helpers.spec(**options), torch.device("cpu"))


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
