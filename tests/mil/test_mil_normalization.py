"""Normalizations against ONNX Runtime and numpy."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS17, assert_close, checks, evaluate, normal, onnx_run

SHAPES = [(2, 3, 7), (2, 3, 5, 4), (2, 3, 2, 4, 3)]


@checks("batch_norm", against="onnxruntime")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_batch_norm(shape, opset):
    x, gamma, beta, mean = normal(*shape), *(normal(3, seed=s) for s in (1, 2, 3))
    variance = np.abs(normal(3, seed=4)) + 0.1
    found, plain = evaluate(
        lambda x: (
            mb.batch_norm(
                x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=np.float32(1e-3)
            ),
            mb.batch_norm(x=x, mean=mean, variance=variance),
        ),
        opset,
        flexible={"x": (None, 3, *[None] * (len(shape) - 2))},
        x=x,
    )
    expected = onnx_run("BatchNormalization", [x, gamma, beta, mean, variance], epsilon=1e-3)
    assert_close(found, expected)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    assert_close(plain, onnx_run("BatchNormalization", [x, one, zero, mean, variance]))


@checks("instance_norm", against="onnxruntime")
@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_instance_norm(shape, opset):
    x, gamma, beta = normal(*shape), normal(3, seed=1), normal(3, seed=2)
    found, plain = evaluate(
        lambda x: (
            mb.instance_norm(x=x, gamma=gamma, beta=beta, epsilon=np.float32(1e-3)),
            mb.instance_norm(x=x),
        ),
        opset,
        x=x,
    )
    expected = onnx_run("InstanceNormalization", [x, gamma, beta], epsilon=1e-3)
    assert_close(found, expected, 2e-6)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    assert_close(plain, onnx_run("InstanceNormalization", [x, one, zero]), 2e-6)


@checks("layer_norm", against="onnxruntime")
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_layer_norm_over_the_last_axes(axis, opset):
    x = normal(2, 3, 4)
    gamma, beta = normal(*x.shape[axis:], seed=1), normal(*x.shape[axis:], seed=2)
    found = evaluate(
        lambda x: mb.layer_norm(
            x=x, axes=list(range(axis - 3, 0)), gamma=gamma, beta=beta, epsilon=np.float32(1e-4)
        ),
        opset,
        x=x,
    )
    expected = onnx_run("LayerNormalization", [x, gamma, beta], axis=axis, epsilon=1e-4)
    assert_close(found, expected, 2e-6)


@checks("layer_norm", against="numpy")
@pytest.mark.parametrize("axes", [[1], [0, 2], [0]])
def test_layer_norm_over_any_axes(axes):
    x = normal(2, 3, 4)
    dims = tuple(axes)
    gamma = normal(*(x.shape[d] for d in dims), seed=1)
    spread = gamma.reshape([x.shape[d] if d in dims else 1 for d in range(3)])
    wide = x.astype(np.float64)
    centred = wide - wide.mean(dims, keepdims=True)
    expected = spread * centred / np.sqrt(wide.var(dims, keepdims=True) + 1e-5)
    found = evaluate(
        lambda x: mb.layer_norm(x=x, axes=axes, gamma=gamma, epsilon=np.float32(1e-5)), x=x
    )
    assert_close(found, expected, 2e-6)


@checks("l2_norm", against="numpy")
@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 3, 4)])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_l2_norm_divides_by_the_norm_of_the_last_three_axes(shape, opset):
    x = normal(*shape)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).sum((-3, -2, -1), keepdims=True) + 0.5)
    found = evaluate(lambda x: mb.l2_norm(x=x, epsilon=np.float32(0.5)), opset, x=x)
    assert_close(found, expected)


@checks("local_response_norm", against="onnxruntime")
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 7, 4, 3), (2, 7, 4)])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_local_response_norm(size, shape, opset):
    x = normal(*shape)
    found = evaluate(
        lambda x: mb.local_response_norm(
            x=x, size=size, alpha=np.float32(0.5), beta=np.float32(0.7), k=np.float32(2.0)
        ),
        opset,
        x=x,
    )
    image = x.reshape(*shape, *[1] * (4 - len(shape)))
    expected = onnx_run("LRN", [image], size=size, alpha=0.5, beta=0.7, bias=2.0)
    assert_close(found, expected.reshape(shape))
