"""Pooling against ONNX Runtime, and against torch where rounding up is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS16, assert_close, checks, evaluate, normal, onnx_run

from coreml_assay.mil.errors import EvaluationError

ONNX_PADDING = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}
SIZES = {1: (11,), 2: (9, 7), 3: (6, 7, 5)}


@checks("max_pool", "avg_pool", "l2_pool", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("pad_type", ONNX_PADDING)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (2, 2), (3, 2), (4, 3)])
@pytest.mark.parametrize("open_lengths", [False, True])
def test_pooling_with_automatic_padding(spatial, pad_type, kernel, stride, open_lengths):
    x = normal(2, 3, *SIZES[spatial])
    flexible = {"x": (None, 3, *[None] * spatial)} if open_lengths else None
    where = {"kernel_sizes": [kernel] * spatial, "strides": [stride] * spatial}
    there = {
        "kernel_shape": [kernel] * spatial,
        "strides": [stride] * spatial,
        "auto_pad": ONNX_PADDING[pad_type],
    }

    def build(x):
        yield mb.max_pool(x=x, pad_type=pad_type, **where)
        for exclude in (True, False):
            yield mb.avg_pool(x=x, pad_type=pad_type, exclude_padding_from_average=exclude, **where)
        if spatial < 3:
            yield mb.l2_pool(x=x, pad_type=pad_type, **where)

    largest, excluded, included, *norm = evaluate(lambda x: list(build(x)), IOS16, flexible, x=x)
    assert_close(largest, onnx_run("MaxPool", [x], **there), 0)
    assert_close(excluded, onnx_run("AveragePool", [x], count_include_pad=0, **there))
    assert_close(included, onnx_run("AveragePool", [x], count_include_pad=1, **there))
    for found in norm:
        assert_close(found, onnx_run("LpPool", [x], p=2, **there))


@checks("max_pool", "avg_pool", "l2_pool", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("pads", [(1, 1), (0, 1), (2, 1)])
@pytest.mark.parametrize("open_lengths", [False, True])
def test_pooling_with_custom_padding(spatial, pads, open_lengths):
    x = normal(2, 3, *SIZES[spatial])
    strides = [2, 1, 3][:spatial]
    where = {"kernel_sizes": [3] * spatial, "strides": strides}
    there = {"kernel_shape": [3] * spatial, "strides": strides}
    where |= {"pad_type": "custom", "pad": [*pads] * spatial}
    there |= {"pads": [pads[0]] * spatial + [pads[1]] * spatial}

    def build(x):
        yield mb.max_pool(x=x, **where)
        for exclude in (True, False):
            yield mb.avg_pool(x=x, exclude_padding_from_average=exclude, **where)
        if spatial < 3:
            yield mb.l2_pool(x=x, **where)

    largest, excluded, included, *norm = evaluate(
        lambda x: list(build(x)),
        flexible={"x": (None, 3, *[None] * spatial)} if open_lengths else None,
        x=x,
    )
    assert_close(largest, onnx_run("MaxPool", [x], **there), 0)
    assert_close(excluded, onnx_run("AveragePool", [x], count_include_pad=0, **there))
    assert_close(included, onnx_run("AveragePool", [x], count_include_pad=1, **there))
    for found in norm:
        assert_close(found, onnx_run("LpPool", [x], p=2, **there))


TORCH_POOLS = {
    1: (torch.nn.functional.max_pool1d, torch.nn.functional.avg_pool1d),
    2: (torch.nn.functional.max_pool2d, torch.nn.functional.avg_pool2d),
}


@checks("max_pool", "avg_pool", "l2_pool", against="torch")
@pytest.mark.parametrize("spatial", [1, 2])
@pytest.mark.parametrize("size", [7, 8, 9, 10])
@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (4, 3)])
def test_ceil_mode_is_that_of_torch(spatial, size, pad, kernel, stride):
    x = normal(1, 2, *(size, size + 1)[:spatial])
    where = {
        "kernel_sizes": [kernel] * spatial,
        "strides": [stride] * spatial,
        "pad_type": "custom",
        "pad": [pad] * 2 * spatial,
        "ceil_mode": True,
    }

    def build(x):
        yield mb.max_pool(x=x, **where)
        for exclude in (True, False):
            yield mb.avg_pool(x=x, exclude_padding_from_average=exclude, **where)
        if spatial == 2:
            yield mb.l2_pool(x=x, **where)

    largest, excluded, included, *norm = evaluate(lambda x: list(build(x)), x=x)
    t, there = torch.from_numpy(x), {"ceil_mode": True, "padding": pad}
    max_pool, avg_pool = TORCH_POOLS[spatial]
    assert_close(largest, max_pool(t, kernel, stride, **there), 0)
    assert_close(excluded, avg_pool(t, kernel, stride, count_include_pad=False, **there))
    assert_close(included, avg_pool(t, kernel, stride, **there))
    for found in norm:
        sums = avg_pool(t**2, kernel, stride, divisor_override=1, **there)
        assert_close(found, sums.sqrt())


def test_ceil_mode_refuses_a_window_without_input():
    # Without padding the documented length is 4, and the fourth window starts at element 9 of 9.
    with pytest.raises(EvaluationError, match="wholly outside"):
        evaluate(
            lambda x: mb.max_pool(
                x=x, kernel_sizes=[2], strides=[3], pad_type="valid", ceil_mode=True
            ),
            x=normal(1, 1, 9),
        )


@checks("max_pool", against="arithmetic")
def test_padding_is_never_the_maximum():
    x = np.full((1, 1, 2), -5.0, np.float32)
    found = evaluate(
        lambda x: mb.max_pool(x=x, kernel_sizes=[2], pad_type="custom", pad=[1, 1]), x=x
    )
    assert found.tolist() == [[[-5.0, -5.0, -5.0]]]
