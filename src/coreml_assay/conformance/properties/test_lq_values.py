"""Observed ranges, scales and zero points of LinearQuantizer, and how gradients pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.conformance.linear_quantizing import (
    LINEAR,
    Prepared,
    prepare,
    row,
    with_options,
)
from coreml_assay.conformance.strategies import tried_on
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import gradient_relative, observed_scale_relative
from coreml_assay.conformance.torch_quantizing import torch, with_weights
from coreml_assay.numerics.blocks import Array

EPS = float(np.finfo(np.float32).eps)  # no scale is smaller
FEW = tried_on(0.4)
values = st.floats(-100, 100, width=32)
batches = st.lists(st.tuples(values, values, values), min_size=1, max_size=4)

# How the range of one batch goes into the range so far, of each observer.
Update = Callable[[float, float, Callable[[float, float], float]], float]
OBSERVERS: dict[str, Update] = {
    "min_max": lambda old, new, larger: larger(old, new),
    "moving_average_min_max": lambda old, new, _: old + 0.01 * (new - old),
    "ema_min_max": lambda old, new, _: 0.9 * old + 0.1 * new,
}


def _expect_scale(subject: Subject, found: Array, expected: float, what: str) -> None:
    near = np.allclose(found, expected, rtol=observed_scale_relative(), atol=0)
    subject.expect(near, f"{what} is not as its formula says", expected, found)


@pytest.mark.clause("L.23")
@pytest.mark.parametrize("observer", OBSERVERS)
@FEW
@given(data=batches)
def test_ranges_of_observers(
    torch_subject: Subject, observer: str, data: list[tuple[float, ...]]
) -> None:
    options = with_options(quantization_scheme="affine", activation_observer=observer)
    found = prepare(torch_subject, LINEAR, options, (1, 3))
    low, high = _observe(found, data, observer)
    parameters = found.activations()[0]
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, EPS)
    _expect_scale(torch_subject, parameters.scale, scale, "the scale of the input")
    _expect_zero_point(torch_subject, parameters.zero_point, -low / scale)


def _observe(found: Prepared, data: list[tuple[float, ...]], observer: str) -> tuple[float, float]:
    """Run a model on batches; the range that its input's observer has to have then."""
    update = OBSERVERS[observer]
    low, high = min(data[0]), max(data[0])
    for number, batch in enumerate(data):
        found.run(row(*batch))
        if number:
            low, high = update(low, min(batch), min), update(high, max(batch), max)
    return low, high


def _expect_zero_point(subject: Subject, found: Array, position: float) -> None:
    """Where zero falls on the grid; where that is half between two codes, either of them."""
    near = bool(np.all(abs(found - np.clip(position, 0, 255)) <= 0.5 + 255 * 4 * EPS))
    subject.expect(near, "the zero point is not where zero falls", position, found)


@pytest.mark.clause("L.24")
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@FEW
@given(data=batches)
def test_the_grid_of_activations(
    torch_subject: Subject, scheme: str, data: list[tuple[float, ...]]
) -> None:
    options = with_options(activation_observer="min_max", quantization_scheme=scheme)
    found = prepare(torch_subject, LINEAR, options, (1, 3))
    low, high = _observe(found, data, "min_max")
    parameters = found.activations()[0]
    if scheme == "symmetric":
        scale = max(max(-low, high) / 127.5, EPS)
        torch_subject.expect_equal(
            parameters.zero_point.tolist(), [128], "the zero point of the input"
        )
    else:
        scale = max((max(high, 0) - min(low, 0)) / 255, EPS)
        _expect_zero_point(torch_subject, parameters.zero_point, -min(low, 0) / scale)
    _expect_scale(torch_subject, parameters.scale, scale, "the scale of the input")


NON_NEGATIVE = {
    "relu": "torch.nn.ReLU()",
    "relu6": "torch.nn.ReLU6()",
    "relu, dropout": "torch.nn.ReLU(), torch.nn.Dropout(0.0)",
    "relu, pool": "torch.nn.ReLU(), torch.nn.Identity()",
}


@pytest.mark.clause("L.24")
@pytest.mark.parametrize("kind", NON_NEGATIVE)
def test_what_cannot_be_negative_uses_all_codes(torch_subject: Subject, kind: str) -> None:
    layers = f"torch.nn.Linear(3, 4), {NON_NEGATIVE[kind]}, torch.nn.Linear(4, 2)"
    source = f"model = torch.nn.Sequential({layers})"
    found = prepare(torch_subject, source, {}, (1, 3))
    x = row(4, -7, 5)
    found.run(x)
    largest = _after(found.given, 1 + NON_NEGATIVE[kind].count("torch.nn."), x)
    given_input, middle = found.activations()[:2]
    torch_subject.expect_equal(given_input.zero_point.tolist(), [128], "the input's zero point")
    torch_subject.expect_equal(middle.zero_point.tolist(), [0], "the zero point in between")
    # What was observed went through the fake-quantized layer: 8-bit steps of input and weight.
    near = abs(float(middle.scale[0]) * 255 - largest) <= largest * 0.05
    torch_subject.expect(near, "the scale is not the largest / 255", largest / 255, middle.scale)


def _after(model: object, layers: int, x: Array) -> float:
    """The largest output of the first layers of a sequence."""
    modules = list(model.eval().children())[:layers]  # type: ignore[attr-defined]
    return float(torch.nn.Sequential(*modules)(torch.from_numpy(x)).max())


@pytest.mark.clause("L.24")
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_activations_of_zeros_have_a_finite_scale_above_zero(
    torch_subject: Subject, scheme: str
) -> None:
    found = prepare(torch_subject, LINEAR, with_options(quantization_scheme=scheme), (1, 3))
    found.run(row(0, 0, 0))
    scale = found.activations()[0].scale
    positive = bool(np.isfinite(scale).all() and (scale > 0).all())
    torch_subject.expect(positive, "the scale is no positive number", "a positive number", scale)


GRIDS = {  # lowest and highest code, zero point when symmetric
    "qint8": (-128, 127, 0),
    "quint8": (0, 255, 128),
    "qint4": (-8, 7, 0),
    "quint4": (0, 15, 7),
}
WEIGHT = np.array(
    [[1.0, -2.5, 0.5], [0.25, 0.125, 3.0], [-1.0, -2.0, -0.5], [0.0, 0.0, 0.0]], np.float32
)


@pytest.mark.clause("L.28")
@pytest.mark.parametrize("per_channel", [True, False], ids=["per_channel", "per_tensor"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("dtype", GRIDS)
def test_parameters_of_weights(
    torch_subject: Subject, dtype: str, scheme: str, per_channel: bool
) -> None:
    source = with_weights("torch.nn.Linear(3, 4)", {"weight": WEIGHT})
    options = with_options(
        weight_dtype=dtype, quantization_scheme=scheme, weight_per_channel=per_channel
    )
    found = prepare(torch_subject, f"{source}\nmodel = torch.nn.Sequential(model)", options, (1, 3))
    found.run(row(1, 2, 3))
    _expect_weight(torch_subject, found, WEIGHT if per_channel else WEIGHT.reshape(1, -1), options)


@pytest.mark.clause("L.28")
@pytest.mark.parametrize("dtype", ["qint8", "qint4"])
def test_channels_of_a_transposed_convolution_are_its_outputs(
    torch_subject: Subject, dtype: str
) -> None:
    weight = np.linspace(-3, 2, 2 * 5 * 2, dtype=np.float32).reshape(2, 5, 2, 1)
    source = with_weights("torch.nn.ConvTranspose2d(2, 5, (2, 1))", {"weight": weight})
    options = with_options(weight_dtype=dtype)
    source = f"{source}\nmodel = torch.nn.Sequential(model)"
    found = prepare(torch_subject, source, options, (1, 2, 3, 3))
    found.run(np.ones((1, 2, 3, 3), np.float32))
    channels = np.moveaxis(weight, 1, 0).reshape(5, -1)
    _expect_weight(torch_subject, found, channels, options)


@pytest.mark.clause("L.28")
def test_channels_of_a_normalized_transposed_convolution_are_its_outputs(
    torch_subject: Subject,
) -> None:
    weight = np.linspace(-3, 2, 2 * 5 * 2, dtype=np.float32).reshape(2, 5, 2, 1)
    source = with_weights("torch.nn.ConvTranspose2d(2, 5, (2, 1))", {"weight": weight})
    source = f"{source}\nmodel = torch.nn.Sequential(model, torch.nn.BatchNorm2d(5))"
    found = prepare(torch_subject, source, {}, (2, 2, 3, 3))
    found.run(np.ones((2, 2, 3, 3), np.float32))
    torch_subject.expect_equal(found.weight("0").scale.size, 5, "the number of scales")


def _expect_weight(subject: Subject, found: Prepared, channels: Array, options: object) -> None:
    """Fail unless the parameters are those of the channels, one a row."""
    chosen = options["global_config"]  # type: ignore[index]
    lowest, highest, middle = GRIDS[chosen["weight_dtype"]]
    parameters = found.weight("0")
    subject.expect_equal(parameters.scale.size, len(channels), "the number of scales")
    scales, zeros = parameters.scale.reshape(-1), parameters.zero_point.reshape(-1)
    for channel, scale, zero in zip(channels.astype(np.float64), scales, zeros, strict=True):
        low, high = min(channel.min(), 0), max(channel.max(), 0)
        if chosen.get("quantization_scheme", "symmetric") == "symmetric":
            expected = max(-low, high) / ((highest - lowest) / 2)
            position = float(middle)
        else:
            expected = (high - low) / (highest - lowest)
            position = lowest - low / expected if expected else float(lowest)
        _expect_scale(subject, scale, max(expected, EPS), "a weight's scale")
        # Half between two codes, either of them; affine zero points lie on the grid.
        near = abs(zero - position) <= 0.5 + 255 * 4 * EPS
        subject.expect(bool(near), "a weight's zero point is another", position, zero)


FIXED = {
    "Sigmoid()": (1 / 256, 0),
    "Hardsigmoid()": (1 / 256, 0),
    "Softmax(dim=-1)": (1 / 256, 0),
    "Tanh()": (2 / 256, 128),
}


@pytest.mark.clause("L.29")
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "alone"])
@pytest.mark.parametrize("activation", FIXED)
def test_outputs_whose_range_is_known(torch_subject: Subject, activation: str, fused: bool) -> None:
    between = "" if fused else "torch.nn.LayerNorm(4), "
    source = f"model = torch.nn.Sequential(torch.nn.Linear(3, 4), {between}torch.nn.{activation})"
    found = prepare(torch_subject, source, {}, (1, 3))
    found.run(row(5, -3, 2))
    last = found.activations()[-1]
    scale, zero_point = FIXED[activation]
    torch_subject.expect_equal(last.scale.tolist(), [scale], "the scale of the output")
    torch_subject.expect_equal(last.zero_point.tolist(), [zero_point], "its zero point")


ZERO_GAMMA = (
    "model = torch.nn.Sequential(torch.nn.{layer}, torch.nn.{norm})\n"
    "torch.nn.init.zeros_(model[1].weight)"
)


@pytest.mark.clause("L.30")
@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        ("Conv2d(3, 4, 3)", "BatchNorm2d(4)", (2, 3, 5, 5)),
        ("ConvTranspose2d(3, 4, 3)", "BatchNorm2d(4)", (2, 3, 5, 5)),
        ("Linear(3, 4)", "BatchNorm1d(4)", (2, 3)),
    ],
    ids=["conv", "transposed", "linear"],
)
def test_a_batch_norm_whose_factor_is_zero_gives_numbers(
    torch_subject: Subject, layer: str, norm: str, shape: tuple[int, ...]
) -> None:
    source = ZERO_GAMMA.format(layer=layer, norm=norm)
    found = prepare(torch_subject, source, {}, shape)
    data = np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    output = found.run(data)
    finite = bool(torch.isfinite(output).all())
    torch_subject.expect(finite, "the output holds no numbers", "finite numbers", output)


POINTS = row(-9, -3.9, -1.3, 0, 0.7, 3.9, 4.4, 9)


@pytest.mark.clause("L.33")
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_gradients_pass_within_the_range_and_not_outside(
    torch_subject: Subject, scheme: str
) -> None:
    options = with_options(quantization_scheme=scheme, milestones=[0, 1, 1, -1])
    source = "model = torch.nn.Sequential(torch.nn.Linear(8, 4))"
    found = prepare(torch_subject, source, options, (1, 8))
    found.step()
    found.run(row(-4, 4, 0, 0, 0, 0, 0, 0))
    found.step()  # from now on it simulates, with the range it has
    found.activations()
    torch_subject.extend_snippet(
        f"x = torch.tensor({POINTS.tolist()}, requires_grad=True)\n"
        "prepared.activation_post_process_0(x).sum().backward()\nprint(x.grad)\n"
    )
    x = torch.from_numpy(POINTS).requires_grad_()
    with torch_subject.recording():
        found.model.activation_post_process_0(x).sum().backward()
    expected = (abs(POINTS) <= 4).astype(np.float32)
    torch_subject.expect_equal(x.grad.numpy(), expected, "the gradient")


@pytest.mark.clause("L.33")
@pytest.mark.parametrize("dtype", ["qint8", "qint4"])
def test_gradients_of_weights_pass_within_the_range(torch_subject: Subject, dtype: str) -> None:
    options = with_options(weight_dtype=dtype, milestones=[0, 1, 1, -1])
    weight = np.array([[1.0, -0.5, 0.25], [0.5, 0.125, -2.0]], np.float32)
    source = with_weights("torch.nn.Linear(3, 2)", {"weight": weight})
    found = prepare(torch_subject, f"{source}\nmodel = torch.nn.Sequential(model)", options, (1, 3))
    found.step()
    found.run(row(1, 1, 1))
    found.step()
    torch_subject.extend_snippet(
        "w = torch.tensor([[4.0, -0.5, 0.25], [0.5, 0.125, -1.0]], requires_grad=True)\n"
        "prepared.get_submodule('0').weight_fake_quant(w).sum().backward()\nprint(w.grad)\n"
    )
    w = torch.tensor([[4.0, -0.5, 0.25], [0.5, 0.125, -1.0]], requires_grad=True)
    with torch_subject.recording():
        found.model.get_submodule("0").weight_fake_quant(w).sum().backward()
    expected = np.array([[0, 1, 1], [1, 1, 1]], np.float32)  # 4 lies beyond the range of channel 0
    torch_subject.expect_equal(w.grad.numpy(), expected, "the gradient")


@pytest.mark.clause("L.34")
def test_gradients_of_learnable_scales(torch_subject: Subject) -> None:
    options = with_options(algorithm="learnable", milestones=[0, 1, 1, -1])
    source = "model = torch.nn.Sequential(torch.nn.Linear(8, 4))"
    found = prepare(torch_subject, source, options, (1, 8))
    found.step()
    found.run(row(-4, 4, 0, 0, 0, 0, 0, 0))
    found.step()
    scale = float(found.activations()[0].scale[0])
    torch_subject.extend_snippet(
        f"x = torch.tensor({POINTS.tolist()})\n"
        "prepared.activation_post_process_0(x).sum().backward()\n"
        "print(prepared.activation_post_process_0.scale.grad)\n"
    )
    module = found.model.activation_post_process_0
    with torch_subject.recording():
        module(torch.from_numpy(POINTS)).sum().backward()
        gradient = float(module.scale.grad)
    steps = POINTS.astype(np.float64) / scale
    codes = np.rint(steps) + 128
    # Learned step size quantization, equation 3, and the factor of its section 2.2.
    inside = np.where((codes >= 0) & (codes <= 255), np.rint(steps) - steps, 0)
    slope = inside + np.where(codes < 0, -128, 0) + np.where(codes > 255, 127, 0)
    expected = float(slope.sum() / np.sqrt(POINTS.size * 255))
    torch_subject.expect(
        abs(gradient - expected) <= gradient_relative() * abs(slope).sum(),
        "the gradient of the scale is another",
        expected,
        gradient,
    )
