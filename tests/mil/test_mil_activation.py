"""Activations against their documented formulas in numpy, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS17, assert_close, checks, evaluate, normal

X = np.concatenate([normal(2, 3, 4).ravel() * 3, [0.0, -0.0, 1.0, -1.0, 6.5, 40.0]]).astype(
    np.float32
)
ERF = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "clamped_relu": (
        {"alpha": 0.25, "beta": 2.0},
        lambda x: np.where(x >= 0, np.minimum(2.0, x), np.minimum(2.0, 0.25 * x)),
    ),
    "elu": ({"alpha": 1.5}, lambda x: np.where(x > 0, x, 1.5 * (np.exp(x) - 1))),
    "gelu": ({}, lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2)))),
    "leaky_relu": ({"alpha": 0.1}, lambda x: np.where(x >= 0, x, np.float32(0.1) * x)),
    "linear_activation": ({"alpha": 2.0, "beta": -1.0}, lambda x: 2.0 * x - 1.0),
    "relu": ({}, lambda x: np.maximum(x, 0)),
    "relu6": ({}, lambda x: np.minimum(np.maximum(x, 0), 6)),
    "scaled_tanh": ({"alpha": 1.5, "beta": 0.5}, lambda x: 1.5 * np.tanh(0.5 * x)),
    "sigmoid": ({}, sigmoid),
    "sigmoid_hard": (
        {"alpha": 0.25, "beta": 0.5},
        lambda x: np.minimum(np.maximum(0.25 * x + 0.5, 0), 1),
    ),
    "silu": ({}, lambda x: x * sigmoid(x)),
    "softplus": ({}, lambda x: np.log1p(np.exp(x))),
    "softsign": ({}, lambda x: x / (1 + np.abs(x))),
    "thresholded_relu": ({"alpha": 1.0}, lambda x: np.where(x >= 1.0, x, 0)),
}


@checks(*FORMULAS, against="numpy")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
@pytest.mark.parametrize("op_type", FORMULAS)
def test_activations_equal_their_formulas(op_type, opset):
    parameters, formula = FORMULAS[op_type]
    found = evaluate(lambda x: getattr(mb, op_type)(x=x, **parameters), opset, x=X)
    assert_close(found, formula(X.astype(np.float64)), 3e-7)


@checks("gelu", against="numpy")
@pytest.mark.parametrize("mode", ["TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu_approximations_equal_their_formulas(mode):
    x = X.astype(np.float64)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    tanh = 0.5 * x * (1 + np.tanh(inner))
    expected = tanh if mode == "TANH_APPROXIMATION" else x * sigmoid(1.702 * x)
    assert_close(evaluate(lambda x: mb.gelu(x=x, mode=mode), x=X), expected, 3e-7)


@checks("prelu", "softplus_parametric", against="numpy")
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_parametric_activations_have_one_parameter_for_each_channel(shape, opset):
    x = normal(*shape)
    # The builder takes different alphas of prelu for rank 4 alone.
    alpha = np.array([0.5, -1.0, 2.0] if len(shape) == 4 else [0.5] * 3, np.float32)
    beta = np.array([1.0, 0.5, 3.0], np.float32)
    a, b = (v.reshape(1, 3, *[1] * (len(shape) - 2)) for v in (alpha, beta))
    found = evaluate(lambda x: mb.prelu(x=x, alpha=alpha), opset, x=x)
    assert_close(found, np.where(x > 0, x, a * x))
    if len(shape) == 4:
        found = evaluate(lambda x: mb.softplus_parametric(x=x, alpha=alpha, beta=beta), opset, x=x)
        assert_close(found, a * np.log1p(np.exp((b * x).astype(np.float64))), 3e-7)


@checks("softmax", against="numpy")
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("flexible", [None, {"x": (None, 3, None)}])
def test_softmax_sums_to_one_along_its_axis(axis, flexible):
    x = normal(2, 3, 4) * 50
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    found = evaluate(lambda x: mb.softmax(x=x, axis=axis), flexible=flexible, x=x)
    assert_close(found, e / e.sum(axis, keepdims=True), 3e-6)
