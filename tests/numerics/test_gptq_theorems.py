"""What holds for GPTQ whatever the layer."""

from __future__ import annotations

import gptq_helpers as helpers
import pytest
import torch

from coreml_assay.numerics.gptq import Hessian, quantize
from coreml_assay.numerics.gptq.factor import factorize

# Codes that differ where float32 rounding differs: one near-tie changes what follows in its row.
SHARE_OF_EQUAL_CODES = 0.999
LOSS_RATIO = 1.001


def round_to_nearest(weight, asked):
    return quantize(weight, torch.eye(weight.shape[1]), asked)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("options", [{}, {"block_columns": 16}, {"activation_order": True}])
def test_diagonal_hessian_gives_round_to_nearest(bits, symmetric, options):
    weight, _ = helpers.layer(24, 64)
    matrix = torch.diag(torch.rand(64, generator=torch.Generator().manual_seed(1)) + 0.1)
    result = quantize(weight, matrix, helpers.spec(bits, symmetric=symmetric, **options))
    blocks = weight.view(24, -1, options.get("block_columns", 64))
    low, high = blocks.amin(2).clamp(max=0), blocks.amax(2).clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    scale = (high - low) / (2**bits - 1)
    zero = torch.full_like(scale, 2 ** (bits - 1)) if symmetric else torch.round(-low / scale)
    codes = torch.round(blocks / scale[..., None]) + zero[..., None]
    assert torch.equal(result.scale, scale)
    assert torch.equal(result.zero_point, zero)
    assert torch.equal(result.codes, codes.clamp(0, 2**bits - 1).to(torch.uint8).view(24, 64))


@pytest.mark.parametrize("activation_order", [False, True])
def test_loss_is_below_that_of_rounding(activation_order):
    weight, inputs = helpers.layer(32, 96)
    matrix = helpers.hessian(inputs)
    asked = helpers.spec(activation_order=activation_order)
    rounded = round_to_nearest(weight, asked).weight
    found = quantize(weight, matrix, asked).weight
    assert helpers.loss(weight, found, matrix) < 0.8 * helpers.loss(weight, rounded, matrix)


@pytest.mark.parametrize("block_columns", [None, 16, 64])
def test_processing_group_size_does_not_matter(block_columns):
    weight, inputs = helpers.layer(64, 256)
    matrix = helpers.hessian(inputs)
    results = [
        quantize(
            weight,
            matrix,
            helpers.spec(block_columns=block_columns, processing_group_size=group),
        )
        for group in (128, 1, 7, 1000)
    ]
    expected = helpers.loss(weight, results[0].weight, matrix)
    for result in results[1:]:
        equal = (result.codes == results[0].codes).float().mean()
        assert equal >= SHARE_OF_EQUAL_CODES
        assert helpers.loss(weight, result.weight, matrix) <= LOSS_RATIO * expected


@pytest.mark.parametrize("symmetric", [True, False])
def test_loss_meets_babais_bound_where_nothing_clips(symmetric):
    weight, inputs = helpers.layer(32, 64)
    weight[:, 0] = 4 * weight.abs().amax(1)  # room above, so that compensation does not clip
    weight[:, 1] = -weight[:, 0]
    matrix = helpers.hessian(inputs)
    asked = helpers.spec(8, symmetric=symmetric, hessian_dampening=0.01)
    result = quantize(weight, matrix, asked)
    assert result.codes[:, 2:].min() > 0
    assert result.codes[:, 2:].max() < 255
    diagonal = factorize(matrix, 0.01, False).diagonal.double()
    damped = matrix + 0.01 * matrix.diagonal().mean() * torch.eye(64)
    bound = (result.scale.double() ** 2).sum() * (diagonal**2).sum() / 4
    assert helpers.loss(weight, result.weight, damped) <= bound


def test_hessian_does_not_depend_on_batches_and_order():
    _, inputs = helpers.layer(1, 40, samples=12, tokens=9)
    together = helpers.hessian(inputs)
    apart = Hessian(40)
    for sample in inputs.flip(0):
        apart.update(sample)
    assert apart.samples == 12
    diagonal = together.diagonal()
    allowed = 12 * 9 * torch.finfo(torch.float32).eps * torch.sqrt(torch.outer(diagonal, diagonal))
    assert (apart.matrix - together).abs().le(allowed).all()
    exact = inputs.double().reshape(-1, 40)
    assert (2 / 12 * exact.t() @ exact - together).abs().le(allowed).all()


@pytest.mark.parametrize("activation_order", [False, True])
def test_gathered_hessian_serves_as_its_matrix(activation_order):
    weight, inputs = helpers.layer(48, 300)  # 8 samples, so that 2 / N changes no digit
    gathered = Hessian(300)
    gathered.update(inputs)
    asked = helpers.spec(block_columns=50, activation_order=activation_order)
    expected = quantize(weight, gathered.matrix, asked)
    found = quantize(weight, gathered, asked)
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.weight, expected.weight)
    assert torch.equal(found.dead, expected.dead)


def test_permuting_rows_permutes_the_result():
    weight, inputs = helpers.layer(48, 64)
    matrix = helpers.hessian(inputs)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(3))
    straight = quantize(weight, matrix, helpers.spec(block_columns=32))
    permuted = quantize(weight[order], matrix, helpers.spec(block_columns=32))
    assert torch.equal(straight.codes[order], permuted.codes)


def test_activation_order_is_undone():
    weight, inputs = helpers.layer(48, 64)
    matrix = helpers.hessian(inputs)
    order = torch.argsort(matrix.diagonal(), descending=True)
    ordered = quantize(weight, matrix, helpers.spec(activation_order=True))
    by_hand = quantize(weight[:, order], matrix[order][:, order], helpers.spec())
    assert torch.equal(ordered.codes[:, order], by_hand.codes)


@pytest.mark.parametrize("options", [{}, {"block_columns": 32}, {"activation_order": True}])
def test_same_bits_whatever_the_number_of_threads(options):
    weight, inputs = helpers.layer(1100, 320, samples=4)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            matrix = helpers.hessian(inputs)
            found.append((matrix, quantize(weight, matrix, helpers.spec(**options))))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for matrix, result in found[1:]:
        assert torch.equal(matrix, found[0][0])
        assert torch.equal(result.codes, found[0][1].codes)
        assert torch.equal(result.weight, found[0][1].weight)
