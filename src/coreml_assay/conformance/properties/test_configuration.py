"""Configuration: defaults, what is accepted and refused, and which configuration wins."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
from cattrs.errors import ClassValidationError
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from coreml_assay.conformance.quantizing import (
    Configuration,
    everywhere,
    quantize_model,
    quantize_weights,
    read,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.mil.samples import Weight, model_of, placeholder
from coreml_assay.numerics.blocks import Array

SMALL = {"weight_threshold": 0}


def _ramp(*shape: int) -> Array:
    return np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@pytest.mark.clause("C.1")
def test_defaults(coreml_subject: Subject) -> None:
    with coreml_subject.recording():
        config = coreml_subject.coreml.OpLinearQuantizerConfig()
        found = (
            config.mode,
            types.builtin_to_string(config.dtype),
            config.granularity.name,
            config.block_size,
            config.weight_threshold,
        )
    expected = ("LINEAR_SYMMETRIC", "int8", "PER_CHANNEL", 32, 2048)
    coreml_subject.expect_equal(found, expected, "the default configuration")


@pytest.mark.clause("C.2")
@pytest.mark.parametrize("mode", ["linear", "LINEAR", "Linear_Symmetric", "linear_symmetric"])
def test_modes_in_any_letter_case(coreml_subject: Subject, mode: str) -> None:
    with coreml_subject.recording():
        found = coreml_subject.coreml.OpLinearQuantizerConfig(mode=mode).mode
    coreml_subject.expect_equal(found, mode.upper(), "the stored mode")


@pytest.mark.clause("C.2")
@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        *[(name, name) for name in ("int8", "uint8", "int4", "uint4")],
        (np.int8, "int8"),
        (np.uint8, "uint8"),
        (np.dtype(np.int8), "int8"),
        (types.uint4, "uint4"),
    ],
    ids=str,
)
def test_dtypes_by_name_and_type(coreml_subject: Subject, dtype: Any, name: str) -> None:
    with coreml_subject.recording():
        config = coreml_subject.coreml.OpLinearQuantizerConfig(dtype=dtype)
        found = (types.builtin_to_string(config.dtype), config.nbits, config.signed)
    expected = (name, int(name[-1]), not name.startswith("u"))
    coreml_subject.expect_equal(found, expected, "dtype, nbits and signed")


@pytest.mark.clause("C.3")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "kmeans"}, ValueError),
        ({"dtype": "int2"}, ValueError),
        ({"dtype": "int3"}, ValueError),
        ({"dtype": "int32"}, ValueError),
        ({"dtype": np.int16}, ValueError),
        ({"dtype": np.float32}, ValueError),
        ({"dtype": 5}, TypeError),
        ({"granularity": "per_grouped_channel"}, ValueError),
        ({"granularity": "per_chanel"}, ValueError),
        ({"block_size": -1}, ValueError),
        ({"block_size": 1.5}, ValueError),
        ({"block_size": [1, "2"]}, ValueError),
        ({"weight_threshold": -1}, ValueError),
        ({"weight_threshold": 1.5}, TypeError),
    ],
    ids=str,
)
def test_other_values_are_refused(
    coreml_subject: Subject, options: dict[str, Any], error: type[Exception]
) -> None:
    coreml_subject.expect_raises(
        error, lambda: coreml_subject.coreml.OpLinearQuantizerConfig(**options)
    )


@pytest.mark.clause("C.3")
def test_the_op_type_const_is_refused(coreml_subject: Subject) -> None:
    model = model_of(
        {"x": placeholder((2, 4))},
        lambda x: [mb.linear(x=x, weight=mb.const(val=_ramp(8, 4), name="w"))],
        "iOS18",
    )
    coreml = coreml_subject.coreml
    config = Configuration(SMALL, op_types={"const": SMALL}).build(coreml)
    coreml_subject.expect_raises(ValueError, lambda: coreml.linear_quantize_weights(model, config))


LEVELS = ["everything", "op_types", "op_names", "own_name"]
DUELS = [(winner, loser) for i, winner in enumerate(LEVELS) for loser in [None, *LEVELS[:i]]]


@pytest.mark.clause("C.4")
@pytest.mark.parametrize("chosen", [{**SMALL, "dtype": "uint4"}, None], ids=["uint4", "none"])
@pytest.mark.parametrize(("winner", "loser"), DUELS)
def test_name_comes_before_type_before_global(
    coreml_subject: Subject, loser: str | None, winner: str, chosen: dict[str, Any] | None
) -> None:
    options = {loser: {**SMALL, "dtype": "int8"}, winner: chosen}
    configuration = Configuration(
        options.get("everything"),
        {"linear": options["op_types"]} if "op_types" in options else {},
        {
            name: options[level]
            for level, name in (("op_names", "w_out"), ("own_name", "w"))
            if level in options
        },
    )
    weights = [Weight("w", _ramp(8, 4), "linear")]
    stored = quantize_weights(coreml_subject, weights, "iOS18", configuration)["w"]
    found = None if stored.codes is None else stored.codes.dtype.name
    coreml_subject.expect_equal(
        found,
        None if chosen is None else "uint8",  # what numpy holds uint4 in
        f"the codes when {winner} is {chosen} and {loser} is int8",
    )


@pytest.mark.clause("C.4")
def test_names_that_do_not_exist_change_nothing(coreml_subject: Subject) -> None:
    configuration = Configuration(SMALL, op_names={"no_such_weight": None})
    weights = [Weight("w", _ramp(8, 4), "linear")]
    stored = quantize_weights(coreml_subject, weights, "iOS18", configuration)["w"]
    coreml_subject.expect_equal(stored.is_quantized, True, "whether the weight is quantized")


def _shared(*shape: int) -> Any:
    """A model in which linear ops a and b share one weight."""

    def body(x: Any, y: Any) -> list[Any]:
        weight = mb.const(val=_ramp(*shape), name="w")
        return [mb.linear(x=x, weight=weight, name="a"), mb.linear(x=y, weight=weight, name="b")]

    inputs = {"x": placeholder((2, shape[1])), "y": placeholder((3, shape[1]))}
    return model_of(inputs, body, "iOS18")


@pytest.mark.clause("C.5")
@pytest.mark.parametrize("other", [None, {**SMALL, "dtype": "uint8"}], ids=["none", "uint8"])
def test_consumers_that_disagree_are_an_error(
    coreml_subject: Subject, other: dict[str, Any] | None
) -> None:
    coreml = coreml_subject.coreml
    config = Configuration(SMALL, op_names={"b": other}).build(coreml)
    coreml_subject.expect_raises(
        ValueError, lambda: coreml.linear_quantize_weights(_shared(8, 4), config)
    )


@pytest.mark.clause("C.5")
def test_the_weights_own_configuration_settles_a_conflict(coreml_subject: Subject) -> None:
    configuration = Configuration(SMALL, op_names={"b": None, "w": SMALL})
    stored = read(coreml_subject, quantize_model(coreml_subject, _shared(8, 4), configuration))
    coreml_subject.expect_equal(stored["w"].is_quantized, True, "whether the weight is quantized")


@pytest.mark.clause("C.5")
def test_disagreement_on_a_weight_below_the_threshold_does_not_matter(
    coreml_subject: Subject,
) -> None:
    configuration = Configuration({}, op_names={"b": {"dtype": "uint8"}})
    stored = read(coreml_subject, quantize_model(coreml_subject, _shared(5, 2), configuration))
    coreml_subject.expect_equal(stored["w"].is_quantized, False, "whether the weight is quantized")


NESTED: dict[str, Any] = {
    "config_type": "OpLinearQuantizerConfig",
    "global_config": {"mode": "linear", "dtype": "uint8", "weight_threshold": 7},
    "op_type_configs": {"conv": None, "linear": {"granularity": "per_block", "block_size": [1, 2]}},
    "op_name_configs": {
        "w": {"config_type": "OpLinearQuantizerConfig", "dtype": "int4", "block_size": 16}
    },
}


def _expected(coreml: Any) -> Any:
    one = coreml.OpLinearQuantizerConfig
    return coreml.OptimizationConfig(
        global_config=one(mode="linear", dtype="uint8", weight_threshold=7),
        op_type_configs={"conv": None, "linear": one(granularity="per_block", block_size=[1, 2])},
        op_name_configs={"w": one(dtype="int4", block_size=16)},
    )


@pytest.mark.clause("C.6")
def test_from_dict_equals_the_constructors(coreml_subject: Subject) -> None:
    with coreml_subject.recording():
        coreml = coreml_subject.coreml
        found = coreml.OptimizationConfig.from_dict(copy.deepcopy(NESTED))
        expected = _expected(coreml)
    coreml_subject.expect_equal(found, expected, "the configuration from a dictionary")


@pytest.mark.clause("C.6")
def test_from_yaml_equals_the_constructors(coreml_subject: Subject, tmp_path: Any) -> None:
    text = """
config_type: OpLinearQuantizerConfig
global_config: {mode: linear, dtype: uint8, weight_threshold: 7}
op_type_configs:
  conv: null
  linear: {granularity: per_block, block_size: [1, 2]}
op_name_configs:
  w: {config_type: OpLinearQuantizerConfig, dtype: int4, block_size: 16}
"""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with coreml_subject.recording():
        coreml = coreml_subject.coreml
        by_path = coreml.OptimizationConfig.from_yaml(str(path))
        by_stream = coreml.OptimizationConfig.from_yaml(io.StringIO(text))
        expected = _expected(coreml)
    coreml_subject.expect_equal(by_path, expected, "the configuration from a file")
    coreml_subject.expect_equal(by_stream, expected, "the configuration from a stream")


@pytest.mark.clause("C.6")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"global_confg": {}}, ValueError),
        ({"op_name_config": {}}, ValueError),
        ({"config_type": None}, ValueError),
        ({"config_type": 3}, ValueError),
        ({"op_type_configs": [1]}, ValueError),
        ({"global_config": {"weigth_threshold": 1}}, ClassValidationError),
        ({"global_config": {"dtype": "int3"}}, ClassValidationError),
    ],
    ids=str,
)
def test_wrong_keys_and_values_are_errors(
    coreml_subject: Subject, change: dict[str, Any], error: type[Exception]
) -> None:
    config = {**copy.deepcopy(NESTED), **change}
    coreml_subject.expect_raises(
        error, lambda: coreml_subject.coreml.OptimizationConfig.from_dict(config)
    )


@pytest.mark.clause("C.7")
def test_from_dict_leaves_its_argument(coreml_subject: Subject) -> None:
    given_ = copy.deepcopy(NESTED)
    with coreml_subject.recording():
        coreml_subject.coreml.OptimizationConfig.from_dict(given_)
    coreml_subject.expect_equal(given_, NESTED, "the dictionary after the call")


@pytest.mark.clause("C.8")
@pytest.mark.parametrize("place", ["config_type", "nested"])
def test_a_config_type_that_does_not_exist_is_a_value_error(
    coreml_subject: Subject, place: str
) -> None:
    config = copy.deepcopy(NESTED)
    if place == "nested":
        config["op_name_configs"]["w"]["config_type"] = "OpLinearQuantiserConfig"
    else:
        config["config_type"] = "OpLinearQuantiserConfig"
    coreml_subject.expect_raises(
        ValueError, lambda: coreml_subject.coreml.OptimizationConfig.from_dict(config)
    )


@pytest.mark.clause("C.9")
def test_an_assigned_dtype_counts(coreml_subject: Subject) -> None:
    with coreml_subject.recording():
        config = coreml_subject.coreml.OpLinearQuantizerConfig()
        config.dtype = types.uint4
        found = (config.nbits, config.signed)
    coreml_subject.expect_equal(found, (4, False), "nbits and signed after assigning uint4")


@pytest.mark.clause("C.9")
def test_an_assigned_mode_counts(coreml_subject: Subject) -> None:
    with coreml_subject.recording():
        config = coreml_subject.coreml.OpLinearQuantizerConfig()
        config.mode = "linear"
    coreml_subject.expect_equal(config.mode, "LINEAR", "the mode after assigning it in small type")


@pytest.mark.clause("C.10")
def test_configurations_with_equal_values_are_equal(coreml_subject: Subject) -> None:
    with coreml_subject.recording():
        one = coreml_subject.coreml.OpLinearQuantizerConfig
        same = one(mode="LINEAR", dtype=np.uint8) == one(mode="linear", dtype="uint8")
        different = one(block_size=16) == one(block_size=32)
    coreml_subject.expect_equal((same, different), (True, False), "equality")


@pytest.mark.clause("C.11")
def test_set_methods_set_what_the_constructor_would(coreml_subject: Subject) -> None:
    with coreml_subject.recording():
        coreml = coreml_subject.coreml
        expected = _expected(coreml)
        config = coreml.OptimizationConfig()
        config.set_global(coreml.OpLinearQuantizerConfig())
        config.set_global(expected.global_config)
        for op_type, entry in expected.op_type_configs.items():
            config.set_op_type(op_type, entry)
        for name, entry in expected.op_name_configs.items():
            config.set_op_name(name, entry)
    coreml_subject.expect_equal(config, expected, "the configuration made by set_ methods")


@pytest.mark.clause("C.3")
def test_configurations_of_another_kind_are_refused(coreml_subject: Subject) -> None:
    coreml = coreml_subject.coreml
    coreml_subject.expect_raises(ValueError, lambda: coreml.OptimizationConfig(global_config=3))
    coreml_subject.expect_raises(
        ValueError, lambda: coreml.OptimizationConfig().set_op_name("w", {"dtype": "int8"})
    )


@pytest.mark.clause("C.2")
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel", "per_block"])
def test_granularities_by_name(coreml_subject: Subject, granularity: str) -> None:
    with coreml_subject.recording():
        config = coreml_subject.coreml.OpLinearQuantizerConfig(granularity=granularity)
    coreml_subject.expect_equal(config.granularity.name, granularity.upper(), "the granularity")
    weights = [Weight("w", _ramp(8, 64), "linear")]
    stored = quantize_weights(
        coreml_subject, weights, "iOS18", everywhere(granularity=granularity)
    )["w"]
    shapes = {"per_tensor": (1, 1), "per_channel": (8, 1), "per_block": (8, 2)}
    shape = None if stored.scale is None else stored.scale.shape
    coreml_subject.expect_equal(shape, shapes[granularity], "the shape of the scales")
