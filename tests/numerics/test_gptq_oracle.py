"""GPTQ against its oracle in float64, and against coremltools' own."""

from __future__ import annotations

import gptq_helpers as helpers
import pytest
import torch
from coremltools.optimize.torch.layerwise_compression.algorithms import GPTQ, ModuleGPTQConfig

from coreml_assay.numerics.gptq import oracle, quantize

# A near-tie that float32 rounds otherwise changes the codes that follow in its row, of which there
# are 256, so the share of equal codes is bounded, not each code; and the loss, which such a change
# leaves as it was.
SHARE_OF_EQUAL_CODES = 0.995
LOSS_RATIO = 1.001

BLOCKS = [None, 32, 128]


def coremltools_weight(weight, matrix, bits, symmetric, block, activation_order):
    """The weight that coremltools makes of it, given the Hessian."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False).requires_grad_(False)
    layer.weight.data = weight.clone()
    config = ModuleGPTQConfig(
        weight_dtype=f"uint{bits}",
        quantization_scheme="symmetric" if symmetric else "affine",
        block_size=block,
        use_activation_order_heuristic=activation_order,
        processing_group_size=block or 128,  # larger than a block it reads weights out of date
    )
    algorithm = GPTQ(layer, config)
    algorithm._hessian = matrix.clone()
    algorithm._inp1, algorithm._out1 = weight.new_zeros(1, weight.shape[1]), weight.new_zeros(1)
    algorithm._compress_impl()
    return layer.weight.data


def with_largest_positive(weight, block):
    """The weight, blocks negated where the largest of a row is negative.

    In a symmetric block that one would be half a step below a code, a tie.
    """
    blocks = weight.view(len(weight), -1, block or weight.shape[1])
    negative = -blocks.amin(2, keepdim=True) > blocks.amax(2, keepdim=True)
    return torch.where(negative, -blocks, blocks).view_as(weight)


def share_of_equal(weight, other, scale):
    size = weight.shape[1] // scale.shape[1]
    step = scale.repeat_interleave(size, dim=1)
    return float(((weight - other).abs() < step / 2).float().mean())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("activation_order", [False, True])
def test_codes_and_loss_are_those_of_coremltools_and_the_oracle(
    bits, symmetric, block, activation_order
):
    weight, inputs = helpers.layer(256, 256)
    weight = with_largest_positive(weight, block)
    matrix = helpers.hessian(inputs)
    options = {"block_columns": block, "activation_order": activation_order}
    asked = helpers.spec(bits, symmetric=symmetric, **options)
    result = quantize(weight, matrix, asked)
    exact = oracle.quantize(weight, matrix, asked)
    theirs = coremltools_weight(weight, matrix, bits, symmetric, block, activation_order)
    for other in (exact, theirs):
        assert share_of_equal(result.weight, other, result.scale) >= SHARE_OF_EQUAL_CODES
        expected = LOSS_RATIO * helpers.loss(weight, other, matrix)
        assert helpers.loss(weight, result.weight, matrix) <= expected


@pytest.mark.parametrize("bits", [4, 8])
def test_loss_is_lower_than_coremltools_where_that_saturates(bits):
    weight, inputs = helpers.layer(32, 64)
    weight.abs_()
    matrix = helpers.hessian(inputs)
    result = quantize(weight, matrix, helpers.spec(bits))
    theirs = coremltools_weight(weight, matrix, bits, True, None, False)
    assert helpers.loss(weight, result.weight, matrix) < 0.5 * helpers.loss(weight, theirs, matrix)


@pytest.mark.parametrize("bits", [3, 4])
def test_normal_float_equals_the_oracle(bits):
    weight, inputs = helpers.layer(64, 64)
    matrix = helpers.hessian(inputs)
    asked = helpers.spec(bits, normal_float=True)
    result = quantize(weight, matrix, asked)
    exact = oracle.quantize(weight, matrix, asked)
    assert ((result.weight - exact).abs() < 1e-5).float().mean() >= SHARE_OF_EQUAL_CODES
