"""A wrong option is one line that says which, and what is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from cattrs.errors import ClassValidationError
from coremltools.converters.mil.mil import types

from coreml_assay.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig

NAME = "OpLinearQuantizerConfig"

# option, value, error, what the message says
WRONG = [
    ("mode", 5, TypeError, r"'LINEAR_SYMMETRIC', 'LINEAR'"),
    ("mode", "linar", ValueError, r'Got mode: "linar" \(did you mean \'LINEAR\'\?\)'),
    ("dtype", "int3", ValueError, r"Invalid dtype int3\. Only support int8/uint8/int4/uint4"),
    ("dtype", "INT8", ValueError, r"Invalid dtype INT8\."),
    ("dtype", np.int16, ValueError, r"Should be int4/8 or uint4/8, but got int16"),
    ("dtype", np.float32, ValueError, r"but got fp32"),
    ("dtype", types.fp16, ValueError, r"but got fp16"),
    ("dtype", types.bool, ValueError, r"but got bool"),
    ("dtype", types.str, ValueError, r"but got string"),
    ("dtype", 5, TypeError, r'"dtype" must be a name, a numpy type or a MIL type, got 5'),
    ("dtype", None, TypeError, r'"dtype" must be .* got None'),
    ("dtype", object, TypeError, r'"dtype" must be '),
    ("dtype", [], TypeError, r'"dtype" must be .* got \[\]'),
    ("dtype", types.tensor(types.fp16, (1,)), TypeError, r'"dtype" must be '),
    ("granularity", "per_tenser", ValueError, r"did you mean 'per_tensor'\?"),
    ("granularity", "per_grouped_channel", ValueError, r"must be one of \('per_tensor', "),
    ("granularity", ["per_tensor"], ValueError, r'"granularity" must be one of'),
    ("granularity", None, ValueError, r'"granularity" must be one of'),
    ("block_size", -1, ValueError, r"block_size must be a non-negative int.* got -1"),
    ("block_size", "32", ValueError, r"got '32'"),
    ("block_size", [1, 2.0], ValueError, r"got \[1, 2\.0\]"),
    ("weight_threshold", -1, ValueError, r"must be a non-negative integer\. Got -1"),
    ("weight_threshold", 1.5, TypeError, r'"weight_threshold" must be an int or None, got 1\.5'),
]
wrong = pytest.mark.parametrize(("option", "value", "error", "says"), WRONG)


@wrong
def test_a_wrong_value_is_refused_when_made(option, value, error, says):
    with pytest.raises(error, match=says) as raised:
        OpLinearQuantizerConfig(**{option: value})
    assert "\n" not in str(raised.value)


@wrong
def test_a_wrong_value_is_refused_when_assigned_and_the_old_one_stays(option, value, error, says):
    config = OpLinearQuantizerConfig()
    with pytest.raises(error, match=says):
        setattr(config, option, value)
    assert config == OpLinearQuantizerConfig()


@wrong
def test_a_wrong_value_in_a_dictionary_names_the_class(option, value, error, says):
    with pytest.raises(ClassValidationError, match=says) as raised:
        OptimizationConfig.from_dict({"config_type": NAME, "global_config": {option: value}})
    assert raised.value.message.startswith(f"{NAME} ")
    assert "\n" not in raised.value.message
    assert isinstance(raised.value.exceptions[0], error)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mod": "linear"}, r"has no option 'mod' \(did you mean 'mode'\?\); it has mode, dtype"),
        ({"dtpye": "int8", "zzz": 1}, r"has no option 'dtpye' \(did you mean 'dtype'\?\), 'zzz';"),
        ({1: 2, "mod": 3}, r"has no option 1, 'mod'"),
    ],
)
def test_an_unknown_option_brings_the_nearest(options, says):
    with pytest.raises(ClassValidationError, match=says):
        OptimizationConfig.from_dict({"config_type": NAME, "op_type_configs": {"conv": options}})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"a configuration must be a dictionary, got None"),
        ([], r"a configuration must be a dictionary, got \[\]"),
        ({}, r"config_type must be provided with type of string"),
        (
            {"config_type": NAME, "global_confg": {}},
            r"Invalid key global_confg .* \(did you mean 'global_config'\?\) Supported keys are",
        ),
        (
            {"config_type": "OpLinearQuantizerConfg", "global_config": {}},
            r"'OpLinearQuantizerConfg' does not exist \(did you mean 'OpLinearQuantizerConfig'\?\)",
        ),
        ({"config_type": NAME, "global_config": {"config_type": ["a"]}}, r"\['a'\] does not exist"),
        ({"config_type": NAME, "global_config": 5}, r"must be a dictionary, got 5"),
        ({"config_type": NAME, "op_name_configs": []}, r"op_name_configs must be type of dict"),
    ],
)
def test_a_wrong_dictionary_is_one_line(content, says):
    with pytest.raises(ValueError, match=says) as raised:
        OptimizationConfig.from_dict(content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a configuration must be a dictionary, got None"),
        (b"- conv\n", r"a configuration must be a dictionary, got \['conv'\]"),
        (b"a: [\nb: }", "not valid YAML: while parsing"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"a: \x80", "not valid YAML"),
    ],
)
def test_a_file_that_holds_no_configuration_is_named(tmp_path, content, says):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says) as raised:
        OptimizationConfig.from_yaml(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        OptimizationConfig.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize("how", ["path", "text", "open"])
def test_a_yaml_file_is_read_by_path_or_open(tmp_path, how):
    path = tmp_path / "config.yaml"
    path.write_text(f"config_type: {NAME}\nglobal_config: {{dtype: uint4}}\n")
    with path.open() as stream:
        source = {"path": path, "text": str(path), "open": stream}[how]
        config = OptimizationConfig.from_yaml(source)
    assert config == OptimizationConfig(OpLinearQuantizerConfig(dtype="uint4"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: OptimizationConfig("linear"),
        lambda: OptimizationConfig(op_name_configs={"a": 5}),
        lambda: OptimizationConfig().set_global(5),
        lambda: OptimizationConfig().set_op_type("conv", 5),
        lambda: OptimizationConfig().set_op_name("w", "int8"),
    ],
)
def test_an_entry_that_is_no_configuration_is_refused(make):
    with pytest.raises(ValueError, match="must be type of OpCompressorConfig, or None; got"):
        make()
