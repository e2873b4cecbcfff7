"""Layers, weights and configurations off the main road: done right, or named with a reason."""

import copy
import logging

import pytest
import torch
from ptq_helpers import (
    SCALE,
    ZERO_POINT,
    assert_skipped,
    compress,
    compress_silently,
    quantizer,
    same_bits,
)
from torch import nn

from coreml_assay.optimize.torch.quantization import (
    PostTrainingQuantizer,
    PostTrainingQuantizerConfig,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Code types


@pytest.mark.parametrize("dtype", ["float32", torch.float32])
def test_float32_leaves_the_layer_bit_identical(dtype):
    layer = nn.Linear(8, 4)
    layer.weight.data[0, :2] = torch.tensor([-0.0, 1e-40])
    assert_skipped(layer, "weight_dtype is float32", weight_dtype=dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4", torch.int8, torch.uint8])
def test_metadata_and_report_name_the_codes(dtype):
    q = quantizer(nn.Linear(8, 4), weight_dtype=dtype)
    state = q.compress().state_dict()
    name = str(dtype).removeprefix("torch.")
    (entry,) = q.report().values()
    assert entry["dtype"] == f"dtype={name}"
    n_bits = state["_COREML_/weight/quantization_n_bits"]
    assert n_bits.dtype is torch.int64
    assert n_bits.ndim == 0
    assert n_bits == int(name[-1])
    assert state["_COREML_/weight/compression_type"].tolist() == [3]
    assert state["_COREML_/metadata_version"] == 1
    assert (ZERO_POINT.format("weight") in state) == name.startswith("u")


# Blocks


@pytest.mark.parametrize(
    ("block_size", "blocks"),
    [
        (2, (5, 10)),
        ((2,), (5, 10)),
        ([5, 2], (2, 5)),
        ((5, 0), (2, 1)),
        ((5, 10), (2, 1)),
        ((0, 2), (10, 5)),
        ((10, 2), (10, 5)),
        ((99, 2), (10, 5)),
    ],
)
def test_block_sizes_of_linear(block_size, blocks):
    outputs, inputs = 10, 10
    config = {"granularity": "per_block", "block_size": block_size}
    scale = compress(nn.Linear(inputs, outputs), **config).state_dict()[SCALE.format("weight")]
    expected = (10, 5) if block_size in (2, (2,)) else blocks
    assert scale.shape == expected


@pytest.mark.parametrize(
    ("block_size", "reason"),
    [
        (10, "must be smaller than its axis"),
        ((10, 10), "must be smaller than its axis"),
        ((0, 0), "must be smaller than its axis"),
        (11, "must be smaller than its axis"),
        (3, "axis 1 has length 10, which block size 3 does not divide"),
        ((3, 2), "axis 0 has length 10, which block size 3 does not divide"),
        ((5, 99), "axis 1 has length 10, which block size 99 does not divide"),
        ((5, 2, 0), "more sizes than the weight"),
    ],
)
def test_block_sizes_that_do_not_fit_linear(block_size, reason):
    config = {"granularity": "per_block", "block_size": block_size}
    assert_skipped(nn.Linear(10, 10), reason, **config)


def test_only_channel_axes_are_cut():
    config = {"granularity": "per_block", "block_size": (2, 2, 2)}
    assert_skipped(nn.Conv2d(4, 4, 4), "only channel axes can be cut", **config)
    config["block_size"] = (2, 2, 4, 0)
    scale = compress(nn.Conv2d(4, 4, 4), **config).state_dict()[SCALE.format("weight")]
    assert scale.shape == (2, 2, 1, 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_blocks_of_transposed_convolutions_run_along_their_input_axis(rank):
    make = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d][rank - 1]
    ones = (1,) * rank
    for block_size, blocks in [(4, (2, 6)), ((3, 4), (2, 2)), ((3, 0), (1, 2)), ((0, 2), (4, 6))]:
        config = {"granularity": "per_block", "block_size": block_size}
        state = compress(make(8, 6, 2), **config).state_dict()
        assert state[SCALE.format("weight")].shape == (*blocks, *ones)
    config = {"granularity": "per_block", "block_size": 3}
    assert_skipped(make(8, 6, 2), "axis 0 has length 8", **config)


def test_blocks_set_to_none_later_are_named():
    config = PostTrainingQuantizerConfig()
    config.global_config.granularity = "per_block"
    q = PostTrainingQuantizer(nn.Linear(4, 4), config)
    with pytest.warns(UserWarning, match="block_size is None"):
        q.compress()


# Values


@pytest.mark.parametrize(
    ("value", "reason"), [(float("nan"), "NaN"), (float("inf"), "inf"), (float("-inf"), "inf")]
)
def test_values_without_scale_skip_the_weight_alone(value, reason, caplog):
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    model[0].weight.data[1, 1] = value
    q = quantizer(model)
    with caplog.at_level(logging.WARNING):
        found = q.compress()
    assert reason in q.report().skipped["0.weight"]
    assert "0.weight is left as it was" in caplog.text
    assert same_bits(found[0].weight, model[0].weight)
    assert list(q.report()) == ["1.weight"]
    assert [key for key in found.state_dict() if key.startswith("0._COREML_")] == []


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_block_of_zeros_has_a_positive_scale_and_stays_zero(dtype, scheme):
    layer = nn.Linear(8, 3)
    layer.weight.data[1] = 0
    found = compress(layer, weight_dtype=dtype, quantization_scheme=scheme)
    scale = found.state_dict()[SCALE.format("weight")]
    assert scale[1] == 1
    assert (scale > 0).all()
    assert same_bits(found.weight[1], torch.zeros(8))


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("magnitude", [40000.0, 300.0, 3e-7])
def test_float16_of_any_magnitude_stays_within_half_a_step(magnitude, scheme):
    layer = nn.Linear(64, 4).half()
    layer.weight.data = (torch.linspace(-1, 0.5, 256).reshape(4, 64) * magnitude).half()
    found = compress(layer, weight_dtype="uint8", quantization_scheme=scheme)
    scale = found.state_dict()[SCALE.format("weight")].float()
    change = (found.weight.float() - layer.weight.float()).abs()
    rounding = found.weight.float().abs() * 2**-11
    half = 0.5 + 2**-5  # w / s is rounded to float16, whose spacing near 127 is 2**-4
    assert torch.isfinite(scale).all()
    assert (change <= scale * half + rounding).all()


def test_float16_whose_codes_would_stand_for_infinity_is_skipped():
    layer = nn.Linear(8, 2).half()
    layer.weight.data[0, 0] = 65504
    assert_skipped(layer, "so near the limit of torch.float16")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_bfloat16_weight_agrees_with_its_scale(dtype, scheme):
    layer = nn.Linear(64, 8).bfloat16()
    found = compress(layer, weight_dtype=dtype, quantization_scheme=scheme)
    state = found.state_dict()
    scale, zero_point = state[SCALE.format("weight")], state.get(ZERO_POINT.format("weight"))
    assert found.weight.dtype is scale.dtype is torch.bfloat16
    steps = found.weight.double() / scale.double()
    codes = steps.round()
    assert torch.equal((codes * scale.double()).bfloat16(), found.weight)
    if zero_point is not None:
        codes += zero_point
    lowest, highest = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}[
        dtype
    ]
    assert codes.min() >= lowest
    assert codes.max() <= highest + 1  # one step lost to bfloat16's eight bits
    change = (found.weight.float() - layer.weight.float()).abs()
    rounding = layer.weight.float().abs() * 2**-8
    assert (change <= scale.float() * (1 if scheme == "affine" else 0.5) + rounding).all()


def test_bfloat16_scale_below_the_smallest_number_stays_positive():
    layer = nn.Linear(4, 1).bfloat16()
    layer.weight.data = torch.tensor([[1e-40, 0, 0, -1e-40]], dtype=torch.bfloat16)
    found = compress(layer)
    scale = found.state_dict()[SCALE.format("weight")]
    assert 0 < scale.double() < 1e-40
    assert found.weight[0, 0] > 0 > found.weight[0, 3]


def test_float64_is_computed_in_float32():
    layer = nn.Linear(8, 4)
    found = compress(copy.deepcopy(layer).double()).state_dict()
    expected = compress(layer).state_dict()
    for key in ("weight", SCALE.format("weight")):
        assert found[key].dtype is torch.float64
        assert same_bits(found[key].float(), expected[key])


@pytest.mark.parametrize("shape", [(4, 0), (0, 4)])
def test_weight_without_elements_is_skipped(shape):
    layer = nn.Linear(1, 1)
    layer.weight = nn.Parameter(torch.empty(shape))
    assert_skipped(layer, "has no elements")


def test_dtypes_without_fraction_are_skipped():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)
    assert_skipped(layer, "torch.int8")


def test_sparse_weight_is_skipped():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(layer.weight.detach().to_sparse())
    q = quantizer(layer)
    with pytest.warns(UserWarning, match="torch.sparse_coo"):
        q.compress(inplace=True)  # torch cannot copy a sparse parameter


def test_vector_is_skipped():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.ones(4))
    assert_skipped(layer, "fewer than two axes")


def test_layers_without_values_are_skipped():
    _, report = compress_silently(nn.LazyLinear(4))
    assert "run the model once" in report.skipped["weight"]
    _, report = compress_silently(nn.Linear(4, 4, device="meta"))
    assert "meta device" in report.skipped["weight"]
