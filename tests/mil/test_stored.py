"""How weights are found in a program, whatever op stands for them."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.mil.program import load_program
from coreml_assay.mil.samples import Weight, build_model, model_of, placeholder
from coreml_assay.mil.stored import stored_weights
from coreml_assay.optimize.coreml import (
    OpLinearQuantizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
)

W = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)


def quantized(target, consumer="linear", **options):
    config = OptimizationConfig(OpLinearQuantizerConfig(weight_threshold=0, **options))
    model = build_model([Weight("w", W, consumer), Weight("v", W[:2, :2], "linear")], target)
    return stored_weights(load_program(linear_quantize_weights(model, config)))


def test_plain_weights_are_stored_as_constants():
    model = build_model([Weight("w", W, "linear")])
    weight = stored_weights(load_program(model))["w"]
    assert (weight.op_type, weight.is_quantized) == ("const", False)
    assert (weight.codes, weight.scale, weight.zero_point, weight.axis) == (None,) * 4
    np.testing.assert_array_equal(weight.values, W)


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize(
    ("granularity", "consumer", "blocks"),
    [
        ("per_tensor", "linear", (1, 1)),
        ("per_channel", "linear", (12, 1)),
        ("per_channel", "matmul_y", (1, 20)),
    ],
)
def test_quantized_weights_have_their_old_name_and_parameters_of_their_rank(
    target, granularity, consumer, blocks
):
    found = quantized(target, consumer, mode="linear", granularity=granularity)
    weight = found["w"]
    assert weight.is_quantized
    assert weight.codes.shape == W.shape
    assert weight.scale.shape == weight.zero_point.shape == blocks
    restored = (weight.codes.astype(np.float32) - weight.zero_point) * weight.scale
    np.testing.assert_array_equal(restored, weight.values)
    assert found["v"].op_type == "const"  # too small
    assert not {"w_quantized", "w_scale"} & found.keys()


def test_a_sparse_weight_is_listed_with_its_values():
    def body(x):
        dense = mb.constexpr_sparse_to_dense(
            nonzero_data=np.array([3, 5], np.float16),
            mask=np.array([0b101], np.uint8),
            shape=np.array([3], np.uint32),
            name="w",
        )
        return [mb.mul(x=x, y=dense, name="y")]

    model = model_of({"x": placeholder((3,), np.float16)}, body, "iOS16")
    weight = stored_weights(load_program(model))["w"]
    assert (weight.op_type, weight.is_quantized) == ("constexpr_sparse_to_dense", False)
    assert weight.values.tolist() == [3, 0, 5]
