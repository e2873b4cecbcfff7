"""The configuration classes are attrs classes, laid out as coremltools' own are."""

from __future__ import annotations

import inspect

import attrs
import coremltools.optimize.coreml as theirs
import numpy as np
import pytest
from coremltools.converters.mil.mil import types

import coreml_assay.optimize.coreml as ours
from coreml_assay.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig


def parameters(cls):
    return list(inspect.signature(cls).parameters.values())


@pytest.mark.parametrize(
    "name",
    [
        "OpLinearQuantizerConfig",
        "OptimizationConfig",
        "CoreMLOpMetaData",
        "CoreMLWeightMetaData",
    ],
)
def test_positional_arguments_come_in_coremltools_order(name):
    own, other = parameters(getattr(ours, name)), parameters(getattr(theirs, name))
    assert [each.name for each in own] == [each.name for each in other][: len(own)]
    assert [each.default is each.empty for each in own] == [
        each.default is each.empty for each in other
    ][: len(own)]


def test_defaults_are_coremltools_own():
    own, other = OpLinearQuantizerConfig(), theirs.OpLinearQuantizerConfig()
    for name in ("mode", "dtype", "block_size", "weight_threshold", "nbits", "signed"):
        assert getattr(own, name) == getattr(other, name), name
    assert own.granularity.name == other.granularity.name


def test_assignment_puts_values_into_their_stored_form():
    config = OpLinearQuantizerConfig()
    config.mode, config.dtype, config.granularity = "linear", np.uint8, "per_tensor"
    assert config == OpLinearQuantizerConfig("linear", "uint8", "per_tensor")
    assert (config.mode, config.dtype) == ("LINEAR", types.uint8)


def test_width_and_sign_follow_the_dtype():
    config = OpLinearQuantizerConfig()
    config.dtype = "uint4"
    assert (config.nbits, config.signed, config.grid.name) == (4, False, "uint4")
    assert config.grid.symmetric
    config.mode = "linear"
    assert not config.grid.symmetric


def test_equality_is_by_value_after_normalization():
    assert OpLinearQuantizerConfig("LINEAR", np.int8) == OpLinearQuantizerConfig("linear", "int8")
    assert OpLinearQuantizerConfig() != OpLinearQuantizerConfig(weight_threshold=2047)
    assert OptimizationConfig() == OptimizationConfig(None, {}, None)


def test_evolve_changes_one_option_and_checks_it():
    config = OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=16)
    assert attrs.evolve(config, block_size=8) == OpLinearQuantizerConfig(
        dtype="int4", granularity="per_block", block_size=8
    )
    with pytest.raises(ValueError, match="non-negative"):
        attrs.evolve(config, block_size=-8)


@pytest.mark.parametrize(
    "config",
    [
        OpLinearQuantizerConfig(),
        OpLinearQuantizerConfig("linear", types.uint4, "per_block", [0, 4], None),
    ],
)
def test_the_repr_makes_an_equal_configuration(config):
    assert eval(repr(config)) == config


def test_the_repr_speaks_the_users_words():
    assert repr(OpLinearQuantizerConfig()) == (
        "OpLinearQuantizerConfig(mode='LINEAR_SYMMETRIC', dtype='int8', "
        "granularity='per_channel', block_size=32, weight_threshold=2048)"
    )


def test_a_misspelt_attribute_cannot_be_assigned():
    with pytest.raises(AttributeError, match="weight_treshold"):
        OpLinearQuantizerConfig().weight_treshold = 1


def test_two_configurations_do_not_share_their_dictionaries():
    one, other = OptimizationConfig(), OptimizationConfig()
    one.set_op_type("conv", None)
    assert other.op_type_configs == {}
