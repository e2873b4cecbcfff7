"""Products of matrices against numpy, attention against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS17, IOS18, assert_close, checks, evaluate, normal

from coreml_assay.mil.ops import OPERATIONS


@checks("linear", against="numpy")
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_linear(shape, opset):
    x, weight, bias = normal(*shape), normal(6, 5, seed=1), normal(6, seed=2)
    with_bias, without = evaluate(
        lambda x: (mb.linear(x=x, weight=weight, bias=bias), mb.linear(x=x, weight=weight)),
        opset,
        flexible={"x": [None] * (len(shape) - 1) + [5]},
        x=x,
    )
    product = x.astype(np.float64) @ weight.T
    assert_close(without, product)
    assert_close(with_bias, product + bias)


@checks("matmul", against="numpy")
@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [((4, 3), (3, 2)), ((10, 4, 3), (5, 10, 3, 2))],
)
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_matmul_follows_the_documented_shapes(x_shape, y_shape, opset):
    x, y = normal(*x_shape), normal(*y_shape, seed=1)
    found = evaluate(lambda x, y: mb.matmul(x=x, y=y), opset, x=x, y=y)
    assert_close(found, np.matmul(x.astype(np.float64), y))


@checks("matmul", against="numpy")
@pytest.mark.parametrize(
    ("x_shape", "y_shape"), [((4,), (10, 4, 3)), ((10, 3, 4), (4,)), ((4,), (4,))]
)
def test_matmul_of_vectors(x_shape, y_shape):
    # Called by itself because coremltools' builder infers no or wrong shapes for vectors.
    x, y = normal(*x_shape), normal(*y_shape, seed=1)
    found = OPERATIONS["matmul"](
        x=torch.from_numpy(x),
        y=torch.from_numpy(y),
        transpose_x=len(x_shape) == 1,
        transpose_y=len(y_shape) == 1,
    )
    assert_close(found, np.matmul(x.astype(np.float64), y))


@checks("matmul", against="numpy")
@pytest.mark.parametrize("transposed", [(True, False), (False, True), (True, True)])
def test_matmul_transposes(transposed):
    x = normal(2, 3, 4)
    y = normal(2, *((3, 4) if transposed == (False, True) else (3, 5)), seed=1)
    y = normal(2, 5, 3, seed=1) if transposed == (True, True) else y
    found = evaluate(
        lambda x, y: mb.matmul(x=x, y=y, transpose_x=transposed[0], transpose_y=transposed[1]),
        flexible={"x": (None, 3, 4), "y": (None, *y.shape[1:])},
        x=x,
        y=y,
    )
    left, right = (
        array.swapaxes(-1, -2) if turn else array
        for array, turn in zip((x, y), transposed, strict=True)
    )
    assert_close(found, left.astype(np.float64) @ right)


@checks("matmul", against="numpy")
def test_matmul_transposes_plain_matrices():
    x, y = normal(3, 4), normal(5, 3, seed=1)
    found = evaluate(lambda x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True), x=x, y=y)
    assert_close(found, x.T.astype(np.float64) @ y.T)


@checks("matmul", against="numpy")
def test_matmul_of_integers():
    x, y = np.array([[1, 2], [3, 4]], np.int32), np.array([[5], [-6]], np.int32)
    assert evaluate(lambda x, y: mb.matmul(x=x, y=y), x=x, y=y).tolist() == (x @ y).tolist()


@checks("linear", against="numpy")
def test_linear_of_integers():
    x, weight = np.array([[1, 2]], np.int32), np.array([[3, 4], [5, -6]], np.int32)
    bias = np.array([10, 20], np.int32)
    found = evaluate(lambda x: mb.linear(x=x, weight=weight, bias=bias), x=x)
    assert found.tolist() == (x @ weight.T + bias).tolist()


@checks("einsum", against="numpy")
@pytest.mark.parametrize(
    ("equation", "x_shape", "y_shape"),
    [
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("nchw,nwhu->nchu", (1, 3, 4, 5), (2, 5, 1, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
    ],
)
def test_einsum_multiplies_and_broadcasts(equation, x_shape, y_shape):
    x, y = normal(*x_shape), normal(*y_shape, seed=1)
    found = evaluate(lambda x, y: mb.einsum(values=(x, y), equation=equation), x=x, y=y)
    left = np.moveaxis(x.astype(np.float64), -2, -3)  # [.., h, c, w]
    right = np.moveaxis(y.astype(np.float64), -2, -3)  # [.., h, w, u]
    assert_close(found, np.moveaxis(left @ right, -3, -2))


@checks("scaled_dot_product_attention", against="torch")
@pytest.mark.parametrize("mask", [None, "float", "bool"])
@pytest.mark.parametrize("batch", [(2,), (2, 4)])
def test_attention(mask, batch):
    query, key = normal(*batch, 5, 8), normal(*batch, 6, 8, seed=1)
    value = normal(*batch, 6, 7, seed=2)
    inputs = {"query": query, "key": key, "value": value}
    if mask:
        inputs["mask"] = normal(5, 6, seed=3)
    if mask == "bool":
        inputs["mask"] = inputs["mask"] > -0.5

    def build(query, key, value, mask=None):
        return mb.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=mask)

    found = evaluate(build, IOS18, **inputs)
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors)
    assert_close(found, expected, 2e-6)
