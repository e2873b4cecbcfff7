"""Models: what linear_quantize_weights compresses, what it leaves, and what it writes."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from hypothesis import given

from coreml_assay.conformance.quantizing import (
    Configuration,
    everywhere,
    quantize_model,
    quantize_weights,
    read,
    replay_error,
)
from coreml_assay.conformance.strategies import GRIDS, Case, cases, grid_id, tried_on
from coreml_assay.conformance.subject import Subject
from coreml_assay.mil.describe import describe
from coreml_assay.mil.program import load_program
from coreml_assay.mil.samples import Weight, model_of, placeholder, single
from coreml_assay.numerics import Grid
from coreml_assay.numerics.blocks import Array


def _ramp(*shape: int, dtype: str = "float32") -> Array:
    """A weight whose values all differ."""
    size = int(np.prod(shape))
    return (np.arange(size) - size / 3).astype(dtype).reshape(shape)


@pytest.mark.clause("W.1")
def test_the_given_model_is_not_changed(coreml_subject: Subject) -> None:
    model = single(_ramp(8, 4))
    before = model.get_spec().SerializeToString(deterministic=True)
    quantized = quantize_model(coreml_subject, model, everywhere())
    after = model.get_spec().SerializeToString(deterministic=True)
    coreml_subject.expect_equal(after, before, "the specification of the model given")
    coreml_subject.expect(quantized is not model, "the model given is returned", "a new one", "it")


@pytest.mark.clause("W.2")
@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_everything_but_the_weights_stays(coreml_subject: Subject, target: str) -> None:
    model = single(_ramp(8, 4), "matmul_y", target)
    quantized = quantize_model(coreml_subject, model, everywhere())
    before, after = model.get_spec(), quantized.get_spec()
    coreml_subject.expect_equal(after.description, before.description, "the model's description")
    version = max(before.specificationVersion, ct.target.iOS16.value)
    coreml_subject.expect_equal(
        after.specificationVersion, version, "the specification version (at least iOS16)"
    )
    lines = [_without_weight(line) for line in describe(load_program(quantized))]
    plain = describe(load_program(model, at_least=ct.target.iOS16.value))
    expected = [_without_weight(line) for line in plain]
    found = [line for line in lines if not line.startswith("constexpr_")]
    coreml_subject.expect_equal(found, expected, "what is not the weight")


def _without_weight(line: str) -> str:
    """A description line with the weight's part cut out."""
    start = line.find("y=w")
    return line if start < 0 else line[:start] + line[line.index(") ->") :]


@pytest.mark.clause("W.3")
def test_an_empty_configuration_changes_nothing(coreml_subject: Subject) -> None:
    model = single(_ramp(64, 40))
    quantized = quantize_model(coreml_subject, model, Configuration())
    coreml_subject.expect_equal(
        describe(load_program(quantized)), describe(load_program(model)), "the program"
    )


@pytest.mark.clause("W.4")
@pytest.mark.parametrize("size", [2047, 2048, 2049, 4096])
def test_the_threshold_is_exceeded_by_compressed_weights(
    coreml_subject: Subject, size: int
) -> None:
    for threshold in (0, 2047, 2048, 4096):
        weights = [Weight("w", _ramp(size, 1), "linear")]
        options = Configuration({"weight_threshold": threshold})
        stored = quantize_weights(coreml_subject, weights, "iOS18", options)["w"]
        coreml_subject.expect_equal(
            stored.is_quantized,
            size > threshold,
            f"whether {size} elements are quantized at weight_threshold {threshold}",
        )


@pytest.mark.clause("W.4")
def test_no_threshold_means_every_weight(coreml_subject: Subject) -> None:
    weights = [Weight("w", _ramp(4, 4), "linear")]
    options = Configuration({"weight_threshold": None})
    stored = quantize_weights(coreml_subject, weights, "iOS18", options)["w"]
    coreml_subject.expect_equal(stored.is_quantized, True, "whether the weight is quantized")


@pytest.mark.clause("W.10")
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_the_operation_that_stands_for_a_weight(
    coreml_subject: Subject, target: str, dtype: str, mode: str, granularity: str
) -> None:
    weights = [Weight("w", _ramp(6, 4), "matmul_y")]
    options = everywhere(dtype=dtype, mode=mode, granularity=granularity)
    stored = quantize_weights(coreml_subject, weights, target, options)["w"]
    newest = target == "iOS18"
    operation = "constexpr_blockwise_shift_scale" if newest else "constexpr_affine_dequantize"
    coreml_subject.expect_equal(stored.op_type, operation, "the operation")
    if not newest:
        axis = 1 if granularity == "per_channel" else 0
        coreml_subject.expect_equal(stored.axis, axis, "the operation's axis")
    has_zero_point = not newest or dtype == "uint8" or mode == "linear"
    coreml_subject.expect_equal(
        stored.zero_point is not None, has_zero_point, "whether there is a zero point"
    )


@pytest.mark.clause("W.11")
@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17"])
@pytest.mark.parametrize(
    "options",
    [{"dtype": "int4"}, {"dtype": "uint4"}, {"granularity": "per_block", "block_size": 2}],
    ids=["int4", "uint4", "per_block"],
)
def test_what_needs_ios18_is_refused_before(
    coreml_subject: Subject, target: str, options: dict[str, Any]
) -> None:
    weights = [Weight("w", _ramp(8, 4), "linear")]
    coreml_subject.expect_raises(
        ValueError,
        replay_error(coreml_subject, weights, target, everywhere(**options)),
        saying="iOS18",
    )


@pytest.mark.clause("W.12")
def test_vectors_are_left_as_they_are(coreml_subject: Subject) -> None:
    value = _ramp(4096)
    weights = [Weight("w", value, "add"), Weight("v", _ramp(64, 64), "add")]
    stored = quantize_weights(coreml_subject, weights, "iOS18", everywhere())
    coreml_subject.expect_equal(stored["w"].op_type, "const", "what stands for the vector")
    coreml_subject.expect_equal(stored["w"].values, value, "the vector")
    coreml_subject.expect_equal(stored["v"].is_quantized, True, "whether the matrix is quantized")


@pytest.mark.clause("W.13")
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan], ids=["inf", "-inf", "nan"])
def test_weights_that_are_not_finite_are_left(coreml_subject: Subject, value: float) -> None:
    weight = _ramp(8, 4)
    weight[1, 2] = value
    weights = [Weight("w", weight, "linear"), Weight("v", _ramp(8, 4), "linear")]
    stored = quantize_weights(coreml_subject, weights, "iOS18", everywhere())
    coreml_subject.expect_equal(stored["w"].op_type, "const", "what stands for the weight")
    coreml_subject.expect_equal(stored["w"].values, weight, "the weight that is not finite")
    coreml_subject.expect_equal(stored["v"].is_quantized, True, "whether the other is quantized")


@pytest.mark.clause("W.14")
@pytest.mark.parametrize("high", [1, 100], ids=["mask", "table"])
def test_integer_constants_are_left(coreml_subject: Subject, high: int) -> None:
    table = (np.arange(6400) % (high + 1)).astype(np.int8).reshape(100, 64)

    def body(x: Any) -> list[Any]:
        rows = mb.cast(x=x, dtype="int32")
        looked_up = mb.gather(x=mb.const(val=table, name="table"), indices=rows, axis=0)
        weight = mb.const(val=_ramp(64, 64), name="w")
        return [mb.linear(x=mb.cast(x=looked_up, dtype="fp32"), weight=weight, name="out")]

    model = model_of({"x": placeholder((2,))}, body, "iOS17")
    stored = read(coreml_subject, quantize_model(coreml_subject, model, everywhere()))
    coreml_subject.expect_equal(stored["table"].op_type, "const", "what stands for the integers")
    coreml_subject.expect_equal(stored["w"].is_quantized, True, "whether the weight is quantized")


@pytest.mark.clause("W.15")
def test_weights_in_nested_blocks_are_quantized(coreml_subject: Subject) -> None:
    def branch(name: str) -> Any:
        return lambda x: mb.linear(x=x, weight=mb.const(val=_ramp(8, 4), name=name))

    def body(x: Any, flag: Any) -> list[Any]:
        condition = mb.greater(x=mb.reduce_sum(x=flag, axes=[0]), y=np.float32(0))
        first, second = branch("inner"), branch("other")
        return [mb.cond(pred=condition, _true_fn=lambda: first(x), _false_fn=lambda: second(x))]

    inputs = {"x": placeholder((2, 4)), "flag": placeholder((3,))}
    model = model_of(inputs, body, "iOS18")
    stored = read(coreml_subject, quantize_model(coreml_subject, model, everywhere()))
    for name in ("inner", "other"):
        coreml_subject.expect_equal(
            name in stored and stored[name].is_quantized, True, f"whether {name} is quantized"
        )


@pytest.mark.clause("W.16")
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_quantizing_a_model_twice_changes_nothing(coreml_subject: Subject, target: str) -> None:
    model = single(_ramp(64, 64), "linear", target)
    once = quantize_model(coreml_subject, model, everywhere())
    twice = quantize_model(coreml_subject, once, everywhere(mode="linear"))
    coreml_subject.expect_equal(
        describe(load_program(twice)), describe(load_program(once)), "the program after two rounds"
    )


@pytest.mark.clause("W.19")
def test_a_weight_that_only_feeds_an_output_is_left(coreml_subject: Subject) -> None:
    def body(x: Any) -> list[Any]:
        return [
            mb.linear(x=x, weight=mb.const(val=_ramp(8, 4), name="w"), name="out"),
            mb.const(val=_ramp(8, 8), name="lonely"),
        ]

    model = model_of({"x": placeholder((2, 4))}, body, "iOS18")
    stored = read(coreml_subject, quantize_model(coreml_subject, model, everywhere()))
    coreml_subject.expect_equal(stored["lonely"].op_type, "const", "what stands for the constant")
    coreml_subject.expect_equal(stored["w"].is_quantized, True, "whether the weight is quantized")


@pytest.mark.clause("W.20")
def test_the_model_can_be_given_by_keyword(coreml_subject: Subject) -> None:
    model = single(_ramp(8, 4))
    with coreml_subject.recording():
        coreml = coreml_subject.coreml
        config = everywhere().build(coreml)
        quantized = coreml.linear_quantize_weights(mlmodel=model, config=config)
    stored = read(coreml_subject, quantized)
    coreml_subject.expect_equal(stored["w"].is_quantized, True, "whether the weight is quantized")


@pytest.mark.clause("W.21")
def test_a_model_that_is_no_ml_program_is_a_type_error(coreml_subject: Subject) -> None:
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    )
    builder.add_activation("relu", "RELU", "x", "y")
    model = ct.models.MLModel(builder.spec, skip_model_load=True)
    coreml = coreml_subject.coreml
    coreml_subject.expect_raises(
        TypeError, lambda: coreml.linear_quantize_weights(model, everywhere().build(coreml))
    )


@pytest.mark.clause("W.21")
def test_a_model_with_several_functions_is_a_value_error(coreml_subject: Subject) -> None:
    model = single(_ramp(8, 4))
    specification = model.get_spec()
    functions = specification.mlProgram.functions
    functions["second"].CopyFrom(functions["main"])
    description = specification.description
    for name in ("main", "second"):
        described = description.functions.add()
        described.name = name
        described.input.extend(description.input)
        described.output.extend(description.output)
    description.defaultFunctionName = "main"
    del description.input[:]
    del description.output[:]
    several = ct.models.MLModel(specification, weights_dir=model.weights_dir, skip_model_load=True)
    coreml = coreml_subject.coreml
    coreml_subject.expect_raises(
        ValueError, lambda: coreml.linear_quantize_weights(several, everywhere().build(coreml))
    )


@pytest.mark.clause("W.22")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
@tried_on(0.5)
@given(case=cases(min_rank=2))
def test_the_model_holds_what_the_array_quantizes_to(
    coreml_subject: Subject, tensor_subject: Subject, grid: Grid, case: Case
) -> None:
    weight = np.concatenate([case.weight] * 5, axis=0)  # ten elements and more
    options = everywhere(
        dtype=grid.name,
        mode="linear_symmetric" if grid.symmetric else "linear",
        granularity="per_block",
        block_size=list(case.block_shape),
    )
    stored = quantize_weights(coreml_subject, [Weight("w", weight, "add")], "iOS18", options)["w"]
    if weight.size < 10:
        return  # too small to be a weight
    expected = tensor_subject.quantize_weight(weight, grid, case.block_shape)
    coreml_subject.expect(
        stored.codes is not None, "the weight is not quantized", "codes", stored.op_type
    )
    if stored.codes is not None and stored.scale is not None:
        coreml_subject.expect_equal(
            stored.codes.astype(grid.dtype), expected.codes, "the codes in the model"
        )
        coreml_subject.expect_equal(stored.scale, expected.scale, "the scale in the model")
