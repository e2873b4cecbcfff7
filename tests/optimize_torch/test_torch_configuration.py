"""The configuration base, seen through the post-training quantizer's configuration."""

import copy
import io
import operator
import re

import pytest
import torch
import yaml
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from coreml_assay.optimize.torch.optimization_config import OptimizationConfig
from coreml_assay.optimize.torch.quantization import (
    ModulePostTrainingQuantizerConfig,
    PostTrainingQuantizerConfig,
    QuantizationGranularity,
    QuantizationScheme,
)

Module = ModulePostTrainingQuantizerConfig
Config = PostTrainingQuantizerConfig


class Custom(nn.Linear):
    pass


MODULES = [nn.Linear(1, 1), nn.Conv1d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), Custom(1, 1)]
TYPES = [nn.Linear, nn.Conv1d, nn.ConvTranspose2d, Custom, "Linear", "Conv1d", "Custom", "Unknown"]
PATTERNS = ["a", "b", "a.b", r"a\..*", ".*b", "a|b", "[ab]", ".*", "c"]
NAMES = ["a", "b", "a.b", "ab", "a.c", "", "c"]

dtypes = st.sampled_from(["int8", "uint8", "int4", "uint4", "float32"])
sizes = st.integers(0, 300)
blocks = st.one_of(sizes, st.lists(sizes, min_size=1, max_size=4).map(tuple))


@st.composite
def modules(draw, scheme="symmetric"):
    granularity = draw(st.sampled_from(QuantizationGranularity))
    per_block = granularity is QuantizationGranularity.per_block
    return Module(draw(dtypes), granularity, scheme, draw(blocks) if per_block else None)


@st.composite
def configs(draw, types=tuple(TYPES)):
    entry = st.none() | modules(draw(st.sampled_from(["symmetric", "affine"])))
    return Config(
        draw(entry),
        draw(st.dictionaries(st.sampled_from(types), entry, max_size=4)),
        draw(st.dictionaries(st.sampled_from(PATTERNS), entry, max_size=5)),
    )


# Round trips


@given(modules())
def test_module_config_to_dict_and_back(config):
    assert Module.from_dict(config.as_dict()) == config


@given(configs())
def test_config_to_dict_and_back(config):
    found = Config.from_dict(config.as_dict())
    assert found == config
    assert list(found.module_name_configs) == list(config.module_name_configs)


@given(configs(types=("Custom", "Unknown")))
def test_config_to_yaml_and_back(config):
    text = yaml.safe_dump(config.as_dict(), sort_keys=False)
    assert Config.from_yaml(io.StringIO(text)) == config
    assert list(Config.from_yaml(io.BytesIO(text.encode())).module_name_configs) == list(
        config.module_name_configs
    )


@given(configs())
def test_from_dict_leaves_its_argument_alone(config):
    given_dict = config.as_dict()
    expected = copy.deepcopy(given_dict)
    Config.from_dict(given_dict).set_module_name("new", None).set_module_type("new", None)
    assert given_dict == expected


@given(configs())
def test_setters_build_what_the_constructor_builds(config):
    built = Config().set_global(config.global_config)
    for key, value in config.module_type_configs.items():
        assert built.set_module_type(key, value) is built
    for key, value in config.module_name_configs.items():
        assert built.set_module_name(key, value) is built
    assert built == config


def test_the_one_configuration_a_dictionary_cannot_hold():
    """An empty dictionary means the defaults, so a cleared configuration comes back as them."""
    cleared = Config().set_global(None)
    assert cleared.get_module_config("a", nn.Linear(1, 1)) is None
    assert Config.from_dict(cleared.as_dict()) == Config()


def test_containers_share_no_dictionaries():
    names = {"a": None}
    first, second = Config(module_name_configs=names), Config(module_name_configs=names)
    first.set_module_name("b", None)
    assert second.module_name_configs == names == {"a": None}
    assert Config().module_type_configs is not Config().module_type_configs


# Precedence


def expected_config(config, name, module):
    """The documented precedence, written as a list of candidates."""
    candidates = [c for p, c in config.module_name_configs.items() if re.fullmatch(p, name)]
    types = config.module_type_configs
    candidates += [types[key] for key in (type(module), type(module).__name__) if key in types]
    return [*candidates, config.global_config][0]


@given(configs(), st.sampled_from(NAMES), st.sampled_from(MODULES))
def test_precedence_is_name_then_class_then_class_name_then_global(config, name, module):
    assert config.get_module_config(name, module) is expected_config(config, name, module)


@given(st.sampled_from(NAMES), st.none() | modules(), st.lists(st.sampled_from(PATTERNS)))
def test_a_later_name_never_overrules_an_earlier_match(name, entry, later):
    config = Config().set_module_name(f"({re.escape(name)})", entry)
    for pattern in later:
        config.set_module_name(pattern, Module("uint4", "per_tensor"))
    assert config.get_module_config(name, nn.Linear(1, 1)) is entry


def test_precedence_by_example():
    by_class, by_class_name = Module("uint8"), Module("int4")
    config = Config(None, {Custom: by_class, "Custom": by_class_name})
    assert config.get_module_config("a", Custom(1, 1)) is by_class
    config = Config(None, {nn.Linear: by_class, "Custom": by_class_name})
    assert config.get_module_config("a", Custom(1, 1)) is by_class_name
    config = Config(None, {nn.Linear: by_class})
    assert config.get_module_config("a", Custom(1, 1)) is None  # a subclass is not the class


def test_a_name_must_match_in_full():
    config = Config(module_name_configs={"layer1": None}).set_global(Module())
    assert config.get_module_config("layer1", nn.Linear(1, 1)) is None
    assert config.get_module_config("layer10", nn.Linear(1, 1)) is not None


def test_names_of_types_are_resolved_everywhere():
    keys = {
        "Linear": nn.Linear,
        "relu": nn.functional.relu,
        "operator.add": operator.add,
        "torch.add": torch.add,
        "Unknown": "Unknown",
    }
    for config in (
        Config(module_type_configs=dict.fromkeys(keys)),
        Config.from_dict({"module_type_configs": dict.fromkeys(keys)}),
    ):
        assert list(config.module_type_configs) == list(keys.values())
    config = Config()
    for key in keys:
        config.set_module_type(key, None)
    assert list(config.module_type_configs) == list(keys.values())


# Defaults


@pytest.mark.parametrize("empty", [{}, {"global_config": None}, {"module_type_configs": None}])
def test_nothing_given_means_the_default_everywhere(empty):
    for config in (Config.from_dict(empty), Config.from_yaml(io.StringIO(yaml.dump(empty)))):
        assert config == Config()
        assert config.global_config == Module()


def test_yaml_from_a_path_and_an_empty_document(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("module_name_configs:\n  first: null\n  last: {weight_dtype: uint4}\n")
    for source in (path, str(path)):
        config = Config.from_yaml(source)
        assert config.module_name_configs == {"first": None, "last": Module("uint4")}
        assert config.global_config is None
    assert Config.from_yaml(io.StringIO("")) == Config()
    assert Module.from_yaml(io.StringIO("")) == Module()


def test_yaml_list_is_a_tuple_of_block_sizes():
    text = "{granularity: per_block, block_size: [2, 4]}"
    assert Module.from_yaml(io.StringIO(text)).block_size == (2, 4)
    assert Module(granularity="per_block", block_size=2).block_size == (2,)


def test_module_defaults_and_positional_order():
    default = Module()
    assert default.weight_dtype is torch.int8
    assert default.weight_n_bits == 8
    assert default.granularity is QuantizationGranularity.per_channel
    assert default.quantization_scheme is QuantizationScheme.symmetric
    assert default.block_size is None
    given_all = Module("uint4", "per_block", "affine", (1, 2))
    assert (given_all.weight_dtype, given_all.weight_n_bits) == (torch.uint8, 4)
    assert isinstance(Config(), OptimizationConfig)


def test_bit_width_follows_the_dtype():
    config = Module()
    config.weight_dtype = "uint4"
    assert config == Module("uint4")
    assert config.as_dict()["weight_dtype"] == "uint4"


# Errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weight_dtype": "int3"}, ValueError, "weight_dtype must be one of int8"),
        ({"weight_dtype": "INT8"}, ValueError, "weight_dtype"),
        ({"weight_dtype": None}, ValueError, "weight_dtype"),
        ({"weight_dtype": []}, ValueError, "weight_dtype"),
        ({"weight_dtype": 8}, ValueError, "weight_dtype"),
        ({"weight_dtype": "fp8_e4m3"}, ValueError, "weight_dtype"),
        ({"weight_dtype": "fp8_e5m2"}, ValueError, "weight_dtype"),
        ({"weight_dtype": torch.float8_e4m3fn}, ValueError, "weight_dtype"),
        ({"weight_dtype": torch.float8_e5m2}, ValueError, "weight_dtype"),
        ({"granularity": "per_row"}, ValueError, "QuantizationGranularity"),
        ({"quantization_scheme": "half"}, ValueError, "QuantizationScheme"),
        ({"granularity": "per_block"}, AssertionError, "needs a block_size"),
        ({"block_size": 2}, AssertionError, "per_block only"),
        ({"granularity": "per_tensor", "block_size": 2}, AssertionError, "per_block only"),
        ({"granularity": "per_block", "block_size": 2.5}, TypeError, "block_size must be an int"),
        ({"granularity": "per_block", "block_size": "2"}, TypeError, "block_size must be an int"),
        ({"granularity": "per_block", "block_size": True}, TypeError, "block_size must be an int"),
        ({"granularity": "per_block", "block_size": [1, 2.0]}, TypeError, "block_size must be"),
        ({"granularity": "per_block", "block_size": -1}, ValueError, "none below 0"),
        ({"granularity": "per_block", "block_size": ()}, ValueError, "at least one size"),
    ],
)
def test_module_config_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Module(**arguments)
    with pytest.raises(error, match=message):
        Module.from_dict(arguments)
    for entry in (
        {"global_config": arguments},
        {"module_type_configs": {"Linear": arguments}},
        {"module_name_configs": {"a": arguments}},
    ):
        with pytest.raises(ClassValidationError, match=next(iter(entry))) as caught:
            Config.from_dict(entry)
        (wrapped,) = caught.value.exceptions
        assert isinstance(wrapped, error)
        assert re.search(message, str(wrapped))


def test_unknown_keys_are_refused():
    for key in ("foo", "from_dict", "op_type_configs"):
        with pytest.raises(ValueError, match=f"Found unrecognized key '{key}'"):
            Config.from_dict({key: None})
    with pytest.raises(ForbiddenExtraKeysError):
        Module.from_dict({"weight_type": "int8"})
    with pytest.raises(ForbiddenExtraKeysError):
        Module.from_dict({"weight_n_bits": 4})
    for section in ("module_type_configs", "module_name_configs"):
        with pytest.raises(ClassValidationError, match=section) as caught:
            Config.from_dict({section: {"Linear": {"weight_type": "int8"}}})
        assert isinstance(caught.value.exceptions[0], ForbiddenExtraKeysError)


def test_values_that_are_no_configuration_are_refused():
    with pytest.raises(TypeError, match="config_dict must be a dictionary"):
        Config.from_dict(5)
    with pytest.raises(TypeError, match="config_dict must be a dictionary"):
        Module.from_dict([])
    with pytest.raises(TypeError, match="module_name_configs must be a dictionary"):
        Config.from_dict({"module_name_configs": 5})
    with pytest.raises(AssertionError, match="module_type_configs"):
        Config.from_dict({"module_type_configs": {nn.Linear: 5}})
    with pytest.raises(TypeError, match=r"module_name_configs\['a'\]"):
        Config.from_dict({"module_name_configs": {"a": 5}})
    with pytest.raises(TypeError, match="global_config must be"):
        Config.from_dict({"global_config": 5})
    with pytest.raises(AssertionError, match="must be a mapping"):
        Config.from_yaml(io.StringIO("- 1"))
    with pytest.raises(TypeError, match="global_config must be"):
        Config({"weight_dtype": "int8"})
    with pytest.raises(TypeError, match="module_type_configs"):
        Config(module_type_configs={nn.Linear: 5})
    with pytest.raises(TypeError, match="a key of module_type_configs"):
        Config(module_type_configs={5: None})
    with pytest.raises(TypeError, match="module_type_configs must be a dictionary"):
        Config(module_type_configs=5)
    with pytest.raises(TypeError, match="a key of module_name_configs"):
        Config(module_name_configs={5: None})
    with pytest.raises(ValueError, match="not a regular expression"):
        Config(module_name_configs={"a[": None})


def test_setters_refuse_what_the_constructor_refuses():
    config = Config()
    with pytest.raises(TypeError, match="global_config"):
        config.set_global("int8")
    with pytest.raises(TypeError, match="module_type_configs"):
        config.set_module_type(nn.Linear, "int8")
    with pytest.raises(TypeError, match="a key of module_type_configs"):
        config.set_module_type(5, None)
    with pytest.raises(TypeError, match="module_name_configs"):
        config.set_module_name("a", "int8")
    with pytest.raises(ValueError, match="not a regular expression"):
        config.set_module_name("a[", None)
    assert config == Config()


def test_schemes_must_agree():
    entries = {"global_config": {}, "module_name_configs": {"a": {"quantization_scheme": "affine"}}}
    with pytest.raises(ValueError, match="quantization_scheme must be the same"):
        Config.from_dict(entries)
    with pytest.raises(ValueError, match="quantization_scheme must be the same"):
        Config(None, {"Linear": Module()}, {"a": Module(quantization_scheme="affine")})


def test_objects_are_accepted_in_dictionaries():
    module = Module("uint4")
    config = Config.from_dict(
        {
            "global_config": module,
            "module_type_configs": {nn.Linear: module},
            "module_name_configs": {"a": module},
        }
    )
    assert config.global_config is module
    assert config.module_type_configs[nn.Linear] is module
    assert config.module_name_configs["a"] is module
