"""LayerwiseCompressor on every kind of layer: quantized to its inputs, and converted."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance import tolerances
from coreml_assay.conformance.layerwise_quantizing import (
    compress,
    expect_compressed,
    expect_converted,
    gptq,
    hessian,
    linear,
    proxy_loss,
    random_data,
    random_weight,
    samples_of,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import expect_left, torch
from coreml_assay.numerics.blocks import Array

LAYERS = {
    "linear": ("Linear(16, 6)", (12, 16)),
    "linear-vector": ("Linear(16, 6)", (16,)),
    "linear-3d": ("Linear(16, 6)", (2, 6, 16)),
    "linear-4d": ("Linear(16, 6)", (2, 2, 3, 16)),
    "conv1d": ("Conv1d(8, 6, 3)", (2, 8, 12)),
    "conv1d-grouped-same": ("Conv1d(8, 6, 3, groups=2, padding='same')", (2, 8, 12)),
    "conv2d": ("Conv2d(8, 6, 3)", (2, 8, 7, 7)),
    "conv2d-strided": ("Conv2d(8, 6, 3, stride=2, padding=1)", (2, 8, 9, 9)),
    "conv2d-dilated": ("Conv2d(8, 6, 3, padding=1, dilation=2)", (2, 8, 9, 9)),
    "conv2d-grouped": ("Conv2d(8, 6, 3, groups=2)", (2, 8, 7, 7)),
    "conv2d-depthwise": ("Conv2d(8, 8, 3, groups=8)", (2, 8, 7, 7)),
    "conv2d-same": ("Conv2d(8, 6, 3, padding='same')", (2, 8, 7, 7)),
    "conv3d": ("Conv3d(4, 6, 2)", (1, 4, 5, 5, 5)),
}
every_layer = pytest.mark.parametrize("layer", LAYERS)


def _source(layer: str) -> str:
    return f"model = torch.nn.Sequential(torch.nn.{LAYERS[layer][0]})"


def _data(layer: str) -> str:
    """Samples whose neighbouring places correlate, the same each time they are made.

    Of layers with groups, the later groups' inputs correlate the other way.
    """
    source, shape = LAYERS[layer]
    made = f"torch.randn({shape}, generator=torch.Generator().manual_seed(i)).cumsum(-1)"
    if "groups" in source:
        channels, length = shape[1], shape[-1]
        later = f"(torch.arange({channels}) >= {channels // 2})"
        later = f"{later}.reshape({(channels, *[1] * (len(shape) - 2))})"
        made = f"torch.where({later} & (torch.arange({length}) % 2 == 1), -1, 1) * {made}"
    return f"[{made} for i in range(8)]"


@pytest.mark.clause("G.13", "G.16")
@every_layer
def test_layers_are_quantized_to_their_inputs(torch_subject: Subject, layer: str) -> None:
    data = _data(layer)
    found = compress(torch_subject, _source(layer), gptq(weight_dtype="uint4"), data)
    expect_compressed(torch_subject, found, "0.weight")
    expect_left(torch_subject, found, "0.bias")
    rounded = copy.deepcopy(found.given)
    weight = torch.from_numpy(_rounded(found.before["0.weight"].values))
    rounded[0].weight.data = weight
    samples = eval(data, {"torch": torch})
    loss, simple = (_output_loss(found.given, model, samples) for model in (found.model, rounded))
    torch_subject.expect(
        loss < tolerances.GPTQ_GAIN * simple,
        "the layer's outputs change about as much as by rounding",
        f"a squared error below {tolerances.GPTQ_GAIN} of {simple:.4g}",
        f"{loss:.4g}",
    )


def _rounded(weight: Array) -> Array:
    """What rounding to nearest makes of a weight: 4 bits, symmetric, per channel."""
    rows = weight.reshape(len(weight), -1)
    scale = 2 * np.abs(rows).max(axis=1, keepdims=True) / 15
    found: Array = (np.clip(np.rint(rows / scale), -8, 7) * scale).reshape(weight.shape)
    return found


def _output_loss(before: Any, after: Any, samples: Any) -> float:
    """The squared difference of two models' outputs on samples."""
    with torch.no_grad():
        return sum(float((before(x) - after(x)).square().sum()) for x in samples)


@pytest.mark.clause("G.16")
@pytest.mark.parametrize("shape", [(16,), (2, 6, 16), (2, 2, 3, 16)], ids=str)
def test_the_rank_of_a_linear_layers_inputs_does_not_matter(
    torch_subject: Subject, shape: tuple[int, ...]
) -> None:
    weight, tokens = random_weight(8, 16), np.concatenate(random_data(12, 16))
    found, expected = (
        _proxy_loss(torch_subject, weight, tokens, each) for each in (shape, (12, 16))
    )
    torch_subject.expect(
        abs(found / expected - 1) <= tolerances.GPTQ_LOSS,
        f"the proxy loss is another for inputs of rank {len(shape)} than for matrices",
        f"{expected:.4g}",
        f"{found:.4g}",
    )


def _proxy_loss(subject: Subject, weight: Array, tokens: Array, shape: tuple[int, ...]) -> float:
    """The loss of a Linear layer that is given the tokens in samples of a shape."""
    data = samples_of(list(tokens.reshape(-1, *shape)))
    found = compress(subject, linear(weight), gptq(weight_dtype="uint4"), data)
    return proxy_loss(weight, found.weights["0.weight"].values, hessian([tokens]))


@pytest.mark.clause("G.16", "G.22")
@every_layer
@pytest.mark.parametrize(("target", "dtype"), [("iOS17", "uint8"), ("iOS18", "uint4")])
def test_converted_layers_hold_exactly_the_weights(
    torch_subject: Subject, layer: str, target: str, dtype: str
) -> None:
    found = compress(torch_subject, _source(layer), gptq(weight_dtype=dtype), _data(layer))
    expect_compressed(torch_subject, found, "0.weight")
    expect_converted(torch_subject, found, LAYERS[layer][1], target)
