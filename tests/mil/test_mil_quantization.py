"""Quantization of activations against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import assert_close, checks, evaluate, normal, onnx_run

SCALES = np.array([0.03125, 0.5, 0.007], np.float32)


@checks("quantize", against="onnxruntime")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [None, 1])
def test_quantize(dtype, axis):
    x = normal(2, 3, 4)
    scale = SCALES if axis else SCALES[0]
    zero_point = np.array([3, 100, 7] if axis else 3, dtype)
    found = evaluate(
        lambda x: mb.quantize(
            input=x, scale=scale, zero_point=zero_point, output_dtype=dtype, axis=axis
        ),
        x=x,
    )
    expected = onnx_run("QuantizeLinear", [x, scale, zero_point], **({"axis": 1} if axis else {}))
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()


@checks("quantize", against="arithmetic")
def test_quantize_rounds_half_to_even_before_it_adds_the_zero_point():
    x = np.array([0.5, 1.5, -0.5, 1000.0], np.float32)
    found = evaluate(
        lambda x: mb.quantize(
            input=x, scale=np.float32(1.0), zero_point=np.int8(1), output_dtype="int8"
        ),
        x=x,
    )
    assert found.tolist() == [1, 3, 1, 127]


@checks("dequantize", against="onnxruntime")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [None, 1])
def test_dequantize(dtype, axis):
    limits = np.iinfo(dtype)
    codes = np.random.default_rng(0).integers(limits.min, limits.max, (2, 3, 4), dtype)
    scale = SCALES if axis else SCALES[0]
    zero_point = np.array([3, 100, 7] if axis else 3, dtype)
    found = evaluate(
        lambda x: mb.dequantize(input=x, scale=scale, zero_point=zero_point, axis=axis), x=codes
    )
    where = {"axis": 1} if axis else {}
    assert_close(found, onnx_run("DequantizeLinear", [codes, scale, zero_point], **where), 0)


@checks("dequantize", "quantize", against="arithmetic")
def test_zero_points_may_be_left_out():
    x = np.array([-3.0, 2.0], np.float32)

    def build(x):
        codes = mb.quantize(input=x, scale=np.float32(0.5), output_dtype="int8")
        return codes, mb.dequantize(input=codes, scale=np.float32(0.25))

    codes, found = evaluate(build, x=x)
    assert codes.tolist() == [-6, 4]
    assert found.tolist() == [-1.5, 1.0]
