"""Weights of a PyTorch model: codes and parameters as for arrays, and where blocks lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.conformance.strategies import GRIDS, dtypes, grid_id, tried_on
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import (
    Config,
    codes_of,
    compress,
    evaluate,
    everywhere,
    expect_left,
    expect_quantized,
    with_weights,
)
from coreml_assay.implementations.torch_models import LAYERS, Layer, TorchWeight
from coreml_assay.numerics import BlockShape, Grid, per_block, per_channel, per_tensor
from coreml_assay.numerics.blocks import Array, split_shape, spread

TRANSPOSED = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


@st.composite
def weights(draw: st.DrawFn, layer: Layer) -> dict[str, Array]:
    """A layer's weights: random, of ordinary magnitudes, and none zero.

    What is odd about single values is tried on arrays; here it is their places that matter.
    """
    dtype = draw(dtypes())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {
        name: (rng.choice([-1, 1], shape) * 2 ** rng.uniform(-6, 6, shape)).astype(dtype)
        for name, shape in layer.weights.items()
    }


@pytest.mark.clause("T.13")
@pytest.mark.parametrize("kind", LAYERS)
@tried_on(0.5)
@given(data=st.data())
def test_codes_are_those_of_the_array(
    torch_subject: Subject, tensor_subject: Subject, kind: str, data: st.DataObject
) -> None:
    layer = LAYERS[kind]
    grid = data.draw(st.sampled_from(GRIDS))
    granularity = data.draw(st.sampled_from(["per_tensor", "per_channel"]))
    arrays = data.draw(weights(layer))
    config = everywhere(granularity=granularity, **codes_of(grid))
    found = compress(torch_subject, with_weights(layer.source, arrays), config).weights
    for name, array in arrays.items():
        blocks = (
            per_tensor(array.ndim)
            if granularity == "per_tensor"
            else per_channel(array.ndim, layer.channel_axes[0])
        )
        _expect_as_array(torch_subject, tensor_subject, found[name], array, grid, blocks)


@pytest.mark.clause("T.13", "T.18")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
@tried_on(0.5)
@given(data=st.data())
def test_blocks_are_those_of_the_array(
    torch_subject: Subject, tensor_subject: Subject, grid: Grid, data: st.DataObject
) -> None:
    layer = data.draw(st.sampled_from([LAYERS["Linear"], LAYERS["Conv2d"]]))
    arrays = data.draw(weights(layer))
    config = everywhere(granularity="per_block", block_size=2, **codes_of(grid))
    found = compress(torch_subject, with_weights(layer.source, arrays), config).weights
    for name, array in arrays.items():
        blocks = per_block(array.ndim, 0, 1, 2)
        _expect_as_array(torch_subject, tensor_subject, found[name], array, grid, blocks)


def _expect_as_array(
    subject: Subject,
    tensor_subject: Subject,
    found: TorchWeight,
    array: Array,
    grid: Grid,
    blocks: BlockShape,
) -> None:
    """Fail unless a weight is quantized to what the tensor face makes of the array."""
    expected = tensor_subject.quantize_weight(array, grid, blocks)
    subject.expect(found.scale is not None, "the weight is not quantized", "a scale", found.scale)
    assert found.scale is not None
    subject.expect_equal(found.n_bits, grid.bits, "the number of bits")
    subject.expect_equal(found.scale, expected.scale, "the scale")
    subject.expect_equal(found.codes, expected.codes.astype(np.int64), "what the weights stand for")
    if expected.zero_point is None or found.zero_point is None:
        subject.expect_equal(found.zero_point, expected.zero_point, "the zero point")
    else:
        zero_point = expected.zero_point.astype(found.zero_point.dtype)
        subject.expect_equal(found.zero_point, zero_point, "the zero point")


@pytest.mark.clause("T.14")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
@tried_on(0.5)
@given(data=st.data())
def test_weights_are_what_their_codes_stand_for(
    torch_subject: Subject, grid: Grid, data: st.DataObject
) -> None:
    layer = data.draw(st.sampled_from([LAYERS["Linear"], LAYERS["ConvTranspose1d"]]))
    array = data.draw(weights(layer))["weight"]
    source = with_weights(layer.source, {"weight": array})
    found = compress(torch_subject, source, everywhere(**codes_of(grid))).weights["weight"]
    torch_subject.expect_equal(found.dtype, f"torch.{array.dtype}", "the weight's dtype")
    torch_subject.expect_equal(found.values, _restored(found), "the weight, from its codes,")


def _restored(weight: TorchWeight) -> Array:
    """(q - z) * s in the scale's dtype."""
    assert weight.scale is not None, "the weight is not quantized"
    shape = split_shape(weight.values.shape, weight.scale.shape)
    zero: Any = 0 if weight.zero_point is None else spread(weight.zero_point.astype(np.int64))
    offsets = (weight.codes.reshape(shape) - zero).astype(weight.scale.dtype)
    restored: Array = offsets * spread(weight.scale)
    return restored.reshape(weight.values.shape)


@pytest.mark.clause("T.16")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_zero_points(torch_subject: Subject, grid: Grid) -> None:
    config = everywhere(**codes_of(grid))
    found = compress(torch_subject, "model = torch.nn.Linear(8, 6)", config).weights["weight"]
    if grid.symmetric and grid.signed:
        torch_subject.expect_equal(found.zero_point, None, "the zero point, of which it has none,")
        return
    torch_subject.expect(
        found.zero_point is not None, "there is no zero point", "a zero point", None
    )
    assert found.zero_point is not None
    torch_subject.expect_equal(
        (found.zero_point.shape, found.zero_point.dtype.name),
        ((6, 1), "int8" if grid.signed else "uint8"),
        "shape and dtype of the zero point",
    )
    if grid.symmetric:
        middle = np.full((6, 1), grid.middle, np.uint8)
        torch_subject.expect_equal(found.zero_point, middle, "the symmetric zero point")


@pytest.mark.clause("T.17")
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("kind", LAYERS)
def test_scales_per_tensor_and_channel(torch_subject: Subject, kind: str, granularity: str) -> None:
    layer = LAYERS[kind]
    found = compress(torch_subject, f"model = {layer.source}", everywhere(granularity=granularity))
    for name, shape in layer.weights.items():
        expected = [1] * len(shape)
        if granularity == "per_channel":
            output = layer.channel_axes[0]
            expected[output] = shape[output]
        _expect_scale(torch_subject, found.weights[name], tuple(expected))


def _expect_scale(subject: Subject, weight: TorchWeight, shape: tuple[int, ...] | None) -> None:
    found = None if weight.scale is None else weight.scale.shape
    subject.expect_equal(found, shape, "the shape of the scale")


@pytest.mark.clause("T.18")
@pytest.mark.parametrize("kind", LAYERS)
def test_blocks_run_along_input_channels(torch_subject: Subject, kind: str) -> None:
    layer = LAYERS[kind]
    config = everywhere(granularity="per_block", block_size=2)
    found = compress(torch_subject, f"model = {layer.source}", config)
    for name, shape in layer.weights.items():
        output, input_ = layer.channel_axes
        expected = [1] * len(shape)
        expected[output], expected[input_] = shape[output], shape[input_] // 2
        _expect_scale(torch_subject, found.weights[name], tuple(expected))


@pytest.mark.clause("T.18")
@pytest.mark.parametrize("kind", TRANSPOSED)
@pytest.mark.parametrize("block_size", [4, 3], ids=["divisor", "no_divisor"])
def test_blocks_of_transposed_convolutions_divide_input_channels(
    torch_subject: Subject, kind: str, block_size: int
) -> None:
    config = everywhere(granularity="per_block", block_size=block_size)
    found = compress(torch_subject, f"model = torch.nn.{kind}(8, 6, 2)", config).weights["weight"]
    rest = (1,) * (found.values.ndim - 2)
    _expect_scale(torch_subject, found, (2, 6, *rest) if block_size == 4 else None)


@pytest.mark.clause("T.19")
@pytest.mark.parametrize(
    ("layer", "block_size", "blocks"),
    [
        ("Linear(8, 6)", (3, 2), (2, 4)),
        ("Linear(8, 6)", (3, 0), (2, 1)),
        ("Linear(8, 6)", (3, 8), (2, 1)),
        ("Linear(8, 6)", (0, 2), (6, 4)),
        ("Linear(8, 6)", (2,), (6, 4)),
        ("Conv2d(4, 6, 3)", (3, 2), (2, 2, 1, 1)),
        ("Conv2d(4, 6, 3)", (3, 2, 0, 3), (2, 2, 1, 1)),
        ("ConvTranspose1d(6, 6, 2)", (3, 2), (3, 2, 1)),
    ],
    ids=str,
)
def test_tuples_of_block_sizes(
    torch_subject: Subject, layer: str, block_size: tuple[int, ...], blocks: tuple[int, ...]
) -> None:
    config = everywhere(granularity="per_block", block_size=block_size)
    found = compress(torch_subject, f"model = torch.nn.{layer}", config).weights["weight"]
    _expect_scale(torch_subject, found, blocks)


TWO_LAYERS = """
model = torch.nn.Sequential()
model.add_module("odd_one", torch.nn.{})
model.add_module("other", torch.nn.Linear(24, 24))
"""


@pytest.mark.clause("T.20")
@pytest.mark.parametrize(
    ("layer", "block_size"),
    [
        ("Linear(8, 6)", 3),
        ("Linear(8, 6)", (4, 2)),
        ("Linear(8, 6)", 8),
        ("Linear(8, 6)", 12),
        ("Linear(8, 6)", (6, 8)),
        ("Conv2d(4, 6, 4)", (2, 2, 2)),
        ("ConvTranspose2d(8, 8, 3)", 8),
    ],
    ids=str,
)
def test_weights_that_blocks_do_not_fit_are_left_and_named(
    torch_subject: Subject, layer: str, block_size: Any
) -> None:
    config: Config = {
        "module_name_configs": {
            "odd_one": {"granularity": "per_block", "block_size": block_size},
            "other": {},
        }
    }
    found = compress(torch_subject, TWO_LAYERS.format(layer), config)
    expect_quantized(torch_subject, found.weights, "other.weight")
    expect_left(torch_subject, found, "odd_one.weight")
    torch_subject.expect(
        "odd_one" in found.messages,
        "no warning names the layer that is left",
        "a warning that names odd_one",
        found.messages or "no warning",
    )


@pytest.mark.clause("T.20")
def test_more_sizes_than_axes_are_left(torch_subject: Subject) -> None:
    config = everywhere(granularity="per_block", block_size=(2, 2, 0))
    found = compress(torch_subject, "model = torch.nn.Linear(8, 6)", config)
    expect_left(torch_subject, found, "weight")


@pytest.mark.clause("T.15")
@pytest.mark.parametrize("dtype", ["'float32'", "torch.float32"])
def test_float32_leaves_the_bits(torch_subject: Subject, dtype: str) -> None:
    weight = np.linspace(-1, 2, 48, dtype=np.float32).reshape(6, 8)
    weight[0, :3] = [-0.0, 1e-40, 3e38]
    source = with_weights("torch.nn.Linear(8, 6)", {"weight": weight})
    config = everywhere(weight_dtype=evaluate(torch_subject, dtype))
    expect_left(torch_subject, compress(torch_subject, source, config), "weight")
