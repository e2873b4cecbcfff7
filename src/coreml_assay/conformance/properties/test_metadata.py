"""Metadata, decompression and joint compression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.conformance.quantizing import everywhere, quantize_model, read
from coreml_assay.conformance.subject import Subject
from coreml_assay.mil.program import Model, load_program
from coreml_assay.mil.samples import (
    TARGETS,
    Weight,
    build_model,
    model_of,
    placeholder,
    single,
)
from coreml_assay.mil.stored import stored_weights
from coreml_assay.numerics.blocks import Array


def _ramp(*shape: int) -> Array:
    return np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@pytest.mark.clause("M.1")
def test_metadata_lists_weights_above_the_threshold(coreml_subject: Subject) -> None:
    sizes = {"small": 99, "equal": 100, "large": 101}
    model = build_model([Weight(name, _ramp(n, 1), "add") for name, n in sizes.items()])
    with coreml_subject.recording():
        found = coreml_subject.coreml.get_weights_metadata(model, weight_threshold=100)
    coreml_subject.expect_equal(sorted(found), ["large"], "weights of more than 100 elements")


@pytest.mark.clause("M.2")
def test_metadata_describes_values_and_consumers(coreml_subject: Subject) -> None:
    value = np.array([[0, 1e-13, 1, 1], [2, 3, 1, 0]], np.float32).repeat(4, axis=1)
    model = single(value, "matmul_y")
    with coreml_subject.recording():
        found = coreml_subject.coreml.get_weights_metadata(model, weight_threshold=10)["w"]
        child = found.child_ops[0]
        consumer = (child.op_type, child.name, dict(child.params_name_mapping))
    coreml_subject.expect_equal(np.asarray(found.val), value, "the values")
    coreml_subject.expect_equal(found.sparsity, 3 / 8, "the share of zeros")
    coreml_subject.expect_equal(found.unique_values, 5, "the number of different values")
    coreml_subject.expect_equal(consumer, ("matmul", "w_out", {"y": "w"}), "the consumer")


@pytest.mark.clause("D.1")
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_decompressed_weights_are_what_codes_stand_for(
    coreml_subject: Subject, target: str, mode: str, dtype: str
) -> None:
    model = single(_ramp(8, 4).astype(dtype), "matmul_y", target)
    quantized = quantize_model(coreml_subject, model, everywhere(mode=mode))
    expected = read(coreml_subject, quantized)["w"].values
    with coreml_subject.recording():
        decompressed = coreml_subject.coreml.decompress_weights(quantized)
    stored = read(coreml_subject, decompressed)
    operations = {weight.op_type for weight in stored.values()}
    coreml_subject.expect_equal(operations, {"const"}, "what stands for weights")
    coreml_subject.expect_equal(stored["w"].values, expected, "the decompressed weight")


def _palettized(target: str) -> Model:
    """A weight of 16 different values behind a look-up table."""
    lut = _ramp(1, 1, 16, 1)
    indices = (np.arange(8 * 64) % 16).astype(np.uint8).reshape(8, 64)

    def body(x: Any) -> list[Any]:
        from coremltools.converters.mil.mil import types

        packed = indices.astype(types.nptype_from_builtin(types.uint4))
        weight = mb.constexpr_lut_to_dense(indices=packed, lut=lut, name="w")
        return [mb.linear(x=x, weight=weight, name="out")]

    return model_of({"x": placeholder((2, 64))}, body, target)


def _sparse() -> Model:
    """A weight whose every other element is zero."""
    mask = (np.arange(8 * 64) % 2).astype(np.uint8).reshape(8, 64)

    def body(x: Any) -> list[Any]:
        from coremltools.converters.mil.mil import types

        flags = mask.astype(types.nptype_from_builtin(types.uint1))
        weight = mb.constexpr_sparse_to_dense(nonzero_data=_ramp(256), mask=flags, name="w")
        return [mb.linear(x=x, weight=weight, name="out")]

    return model_of({"x": placeholder((2, 64))}, body, "iOS18")


@pytest.mark.clause("W.17")
def test_joint_compression_quantizes_look_up_tables(coreml_subject: Subject) -> None:
    model = _palettized("iOS18")
    before = stored_weights(load_program(model))["w"].values
    quantized = quantize_model(
        coreml_subject, model, everywhere(granularity="per_tensor"), joint_compression=True
    )
    stored = read(coreml_subject, quantized)
    kinds = sorted(weight.op_type for weight in stored.values() if weight.op_type != "const")
    coreml_subject.expect_equal(
        kinds, ["constexpr_blockwise_shift_scale", "constexpr_lut_to_dense"], "the operations"
    )
    error = float(np.abs(stored["w"].values - before).max())
    coreml_subject.expect(
        error <= 2 / 254 + 1e-6, "the weight moves by more than half a step", 2 / 254, error
    )


@pytest.mark.clause("W.17")
def test_joint_compression_quantizes_nonzero_values(coreml_subject: Subject) -> None:
    model = _sparse()
    before = stored_weights(load_program(model))["w"].values
    quantized = quantize_model(coreml_subject, model, everywhere(), joint_compression=True)
    stored = read(coreml_subject, quantized)
    kinds = {weight.op_type for weight in stored.values() if weight.op_type != "const"}
    coreml_subject.expect_equal(
        kinds,
        {"constexpr_sparse_blockwise_shift_scale", "constexpr_sparse_to_dense"},
        "the operations",
    )
    after = stored["w"].values
    coreml_subject.expect_equal(after == 0, before == 0, "which elements are zero")
    error = float(np.abs(after - before).max())
    coreml_subject.expect(
        error <= 2 / 254 + 1e-6, "the weight moves by more than half a step", 2 / 254, error
    )


@pytest.mark.clause("W.17")
def test_joint_compression_of_tables_is_per_tensor(coreml_subject: Subject) -> None:
    coreml = coreml_subject.coreml
    config = everywhere(granularity="per_channel").build(coreml)
    model = _palettized("iOS18")
    coreml_subject.expect_raises(
        NotImplementedError,
        lambda: coreml.linear_quantize_weights(model, config, joint_compression=True),
    )


@pytest.mark.clause("W.17")
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "iOS18"])
def test_joint_compression_before_ios18_is_refused(coreml_subject: Subject, target: str) -> None:
    coreml = coreml_subject.coreml
    config = everywhere().build(coreml)
    model = single(_ramp(8, 4), "linear", target)
    coreml_subject.expect_raises(
        ValueError, lambda: coreml.linear_quantize_weights(model, config, joint_compression=True)
    )


@pytest.mark.clause("W.16")
def test_without_joint_compression_compressed_weights_are_left(coreml_subject: Subject) -> None:
    for model in (_palettized("iOS18"), _sparse()):
        before = stored_weights(load_program(model))["w"]
        after = read(coreml_subject, quantize_model(coreml_subject, model, everywhere()))["w"]
        coreml_subject.expect_equal(after.op_type, before.op_type, "the operation")
        coreml_subject.expect_equal(after.values, before.values, "the weight")
