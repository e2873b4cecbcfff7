"""Convolutions against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS16, IOS17, assert_close, checks, evaluate, normal, onnx_run

ONNX_PADDING = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}
SIZES = {1: (11,), 2: (9, 7), 3: (6, 7, 5)}


@checks("conv", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (2, 1), (3, 2), (4, 3), (1, 2)])
def test_conv_with_automatic_padding(spatial, pad_type, kernel, stride):
    x = normal(2, 4, *SIZES[spatial])
    weight, bias = normal(6, 4, *[kernel] * spatial, seed=1), normal(6, seed=2)
    strides = [stride] * spatial
    found = evaluate(
        lambda x: mb.conv(x=x, weight=weight, bias=bias, strides=strides, pad_type=pad_type),
        IOS16,
        x=x,
    )
    expected = onnx_run("Conv", [x, weight, bias], strides=strides, auto_pad=ONNX_PADDING[pad_type])
    assert_close(found, expected, 2e-6)


def spread_out(weight, dilation):
    """The kernel that a dilation stands for: zeros between the elements."""
    lengths = [(k - 1) * dilation + 1 for k in weight.shape[2:]]
    wide = np.zeros((*weight.shape[:2], *lengths), np.float32)
    wide[(..., *[slice(None, None, dilation)] * len(lengths))] = weight
    return wide


@checks("conv", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (2, 2), (3, 2)])
def test_automatic_padding_counts_the_dilated_kernel(spatial, pad_type, kernel, stride):
    # ONNX Runtime dilates only with explicit padding, so it is given the kernel with its zeros.
    x, weight = normal(2, 4, *SIZES[spatial]), normal(6, 2, *[kernel] * spatial, seed=1)
    strides = [stride] * spatial
    found = evaluate(
        lambda x: mb.conv(
            x=x,
            weight=weight,
            strides=strides,
            pad_type=pad_type,
            dilations=[2] * spatial,
            groups=2,
        ),
        IOS16,
        x=x,
    )
    there = {"strides": strides, "group": 2, "auto_pad": ONNX_PADDING[pad_type]}
    assert_close(found, onnx_run("Conv", [x, spread_out(weight, 2)], **there), 2e-6)


@checks("conv", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("pads", ["symmetric", "asymmetric"])
def test_conv_with_custom_padding_groups_and_dilations(spatial, groups, dilation, pads):
    x = normal(2, 4, *SIZES[spatial])
    weight = normal(8, 4 // groups, *[2] * spatial, seed=1)
    before, after = [1] * spatial, [1 if pads == "symmetric" else 2] * spatial
    pad = np.stack([before, after], 1).ravel().astype(np.int32)
    found = evaluate(
        lambda x: mb.conv(
            x=x,
            weight=weight,
            pad_type="custom",
            pad=pad,
            dilations=[dilation] * spatial,
            groups=groups,
        ),
        IOS15,
        x=x,
    )
    expected = onnx_run(
        "Conv",
        [x, weight],
        pads=before + after,
        dilations=[dilation] * spatial,
        group=groups,
    )
    assert_close(found, expected, 2e-6)


@checks("conv", against="onnxruntime")
@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
@pytest.mark.parametrize("size", [(8, 9), (5, 12)])
def test_same_padding_follows_the_size_at_run_time(pad_type, size):
    x, weight = normal(1, 2, *size), normal(3, 2, 3, 3, seed=1)
    found = evaluate(
        lambda x: mb.conv(x=x, weight=weight, pad_type=pad_type, strides=[2, 2]),
        flexible={"x": (None, 2, None, None)},
        x=x,
    )
    expected = onnx_run("Conv", [x, weight], strides=[2, 2], auto_pad=ONNX_PADDING[pad_type])
    assert_close(found, expected, 2e-6)


@checks("conv", against="onnxruntime")
def test_conv_takes_its_weight_at_run_time():
    x, weight = normal(1, 2, 6, 6), normal(3, 2, 3, 3, seed=1)
    found = evaluate(lambda x, weight: mb.conv(x=x, weight=weight), IOS17, x=x, weight=weight)
    assert_close(found, onnx_run("Conv", [x, weight]), 2e-6)


@checks("conv_transpose", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad_type"),
    [
        (2, 3, "valid"),
        *((k, s, pad) for k, s in [(3, 1), (2, 2), (4, 2), (3, 3)] for pad in ("valid", "same")),
    ],
)
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_conv_transpose_with_automatic_padding(spatial, kernel, stride, pad_type, opset):
    x = normal(2, 4, *[n // 2 for n in SIZES[spatial]])
    weight, bias = normal(4, 3, *[kernel] * spatial, seed=1), normal(3, seed=2)
    strides = [stride] * spatial
    found = evaluate(
        lambda x: mb.conv_transpose(
            x=x, weight=weight, bias=bias, strides=strides, pad_type=pad_type
        ),
        opset,
        x=x,
    )
    automatic = {"valid": "VALID", "same": "SAME_UPPER"}[pad_type]
    expected = onnx_run("ConvTranspose", [x, weight, bias], strides=strides, auto_pad=automatic)
    assert_close(found, expected, 2e-6)


@checks("conv_transpose", against="onnxruntime")
@pytest.mark.parametrize("pad_type", ["valid", "same"])
@pytest.mark.parametrize("size", [(4, 5), (3, 7)])
def test_conv_transpose_follows_size_and_dilation_at_run_time(pad_type, size):
    x, weight = normal(1, 4, *size), normal(4, 3, 3, 2, seed=1)
    geometry = {"strides": [2, 2], "dilations": [2, 3]}
    found = evaluate(
        lambda x: mb.conv_transpose(x=x, weight=weight, groups=2, pad_type=pad_type, **geometry),
        flexible={"x": (None, 4, None, None)},
        x=x,
    )
    automatic = {"valid": "VALID", "same": "SAME_UPPER"}[pad_type]
    expected = onnx_run("ConvTranspose", [x, weight], group=2, auto_pad=automatic, **geometry)
    assert_close(found, expected, 2e-6)


@checks("conv_transpose", against="arithmetic")
def test_conv_transpose_fills_up_with_the_bias_where_strides_leave_gaps():
    x = np.array([[[1.0, 2.0]]], np.float32)
    weight, bias = np.array([[[1.0, 10.0]]], np.float32), np.array([0.5], np.float32)
    found = evaluate(
        lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, strides=[3], pad_type="same"),
        x=x,
    )
    # The full output 1 10 0 2 20 is one short of 2 * 3; the missing element goes behind.
    assert_close(found, [[[1.5, 10.5, 0.5, 2.5, 20.5, 0.5]]])


@checks("conv_transpose", against="onnxruntime")
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("pads", [(1, 1), (0, 1), (2, 1)])
def test_conv_transpose_with_custom_padding_groups_and_dilations(spatial, groups, dilation, pads):
    x, weight = normal(2, 4, *(5, 6, 3)[:spatial]), normal(4, 3, *[3] * spatial, seed=1)
    found = evaluate(
        lambda x: mb.conv_transpose(
            x=x,
            weight=weight,
            pad_type="custom",
            pad=[*pads] * spatial,
            strides=[2] * spatial,
            dilations=[dilation] * spatial,
            groups=groups,
        ),
        x=x,
    )
    expected = onnx_run(
        "ConvTranspose",
        [x, weight],
        pads=[pads[0]] * spatial + [pads[1]] * spatial,
        strides=[2] * spatial,
        dilations=[dilation] * spatial,
        group=groups,
    )
    assert_close(found, expected, 2e-6)


@checks("conv_transpose", against="onnxruntime")
@pytest.mark.parametrize("length", [7, 8])
def test_output_shape_decides_where_padding_leaves_it_open(length):
    x, weight = normal(1, 2, 4), normal(2, 3, 3, seed=1)
    found = evaluate(
        lambda x: mb.conv_transpose(
            x=x, weight=weight, strides=[2], pad_type="same", output_shape=[1, 3, length]
        ),
        x=x,
    )
    expected = onnx_run(
        "ConvTranspose", [x, weight], strides=[2], output_shape=[length], auto_pad="SAME_UPPER"
    )
    assert_close(found, expected, 2e-6)


@checks("conv_quantized", against="onnxruntime")
@pytest.mark.parametrize("per_filter", [False, True])
def test_conv_quantized_restores_its_weight_first(per_filter):
    x = normal(1, 2, 6, 6)
    codes = np.random.default_rng(3).integers(0, 256, (3, 2, 3, 3)).astype(np.uint8)
    scale = np.array([0.5, 0.25, 0.125] if per_filter else 0.5, np.float32)
    offset = np.array([-64.0, -32.0, 0.0] if per_filter else -64.0, np.float32)
    found = evaluate(
        lambda x: mb.conv_quantized(
            x=x,
            weight=codes,
            quantization_type="linear",
            quant_scale=scale,
            quant_bias=offset,
            pad_type="valid",
        ),
        IOS15,
        x=x,
    )
    spread = (-1, 1, 1, 1) if per_filter else ()
    weight = codes * scale.reshape(spread) + offset.reshape(spread)
    assert_close(found, onnx_run("Conv", [x, weight.astype(np.float32)]), 2e-6)
