"""Which activations are quantized how, what is reported, and what is left untouched."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from activation_helpers import (
    SHAPE,
    conv,
    data,
    ignore_noise,
    integers,
    one_conv,
    op_types,
    plain,
    program,
    quantize,
    quantize_by_coremltools,
    samples,
    scales,
)
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from coreml_assay.mil.describe import describe
from coreml_assay.mil.program import load_program
from coreml_assay.mil.samples import placeholder
from coreml_assay.optimize.coreml import (
    CompressionReport,
    OpLinearQuantizerConfig,
    OptimizationConfig,
    experimental,
    linear_quantize_activations,
)

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]

# --- configuration ---


def two_convs():
    return program(lambda x: conv(conv(x, "a"), "b"))


@pytest.mark.parametrize(
    ("others", "quantized"),
    [
        ({}, ["a", "b"]),
        ({"op_name_configs": {"a": None}}, ["b"]),
        ({"op_type_configs": {"conv": None}}, []),
        (
            {
                "op_type_configs": {"conv": None},
                "op_name_configs": {"b": OpLinearQuantizerConfig("linear")},
            },
            ["b"],
        ),
    ],
)
def test_name_comes_before_type_and_type_before_global(others, quantized):
    report = CompressionReport()
    configuration = OptimizationConfig(OpLinearQuantizerConfig(), **others)
    model = two_convs()
    linear_quantize_activations(model, configuration, samples(model), report=report)
    assert list(report.activations) == quantized
    assert set(report.activations_skipped) == {"a", "b"} - set(quantized)
    if "b" in others.get("op_name_configs", {}):
        assert report.activations["b"].mode == "LINEAR"


def test_report_tells_ranges_and_reasons():
    report = CompressionReport()

    def body(x):
        shifted = mb.add(x=conv(x, "a"), y=np.float16(1), name="shifted")
        return mb.softmax(x=shifted, axis=1, name="s")

    quantize(program(body), data(2), report=report)
    entry = report.activations["a"]
    assert (entry.op_type, entry.codes, entry.mode) == ("conv", "int8", "LINEAR_SYMMETRIC")
    assert entry.ranges["x_to_fp16"] == (-2, 2)
    assert list(entry.ranges) == ["x_to_fp16", "a"]
    assert str(report).splitlines() == [
        "activations of 1 of 2 ops quantized",
        "  shifted: its input y is constant",
    ]


def test_names_that_nothing_bears_are_reported():
    report = CompressionReport()
    configuration = OptimizationConfig(op_type_configs={"conv2": OpLinearQuantizerConfig()})
    linear_quantize_activations(plain(), configuration, data(1), report=report)
    assert report.unmatched == {"conv2": "conv"}


def test_experimental_names():
    configuration = OptimizationConfig(
        global_config=experimental.OpActivationLinearQuantizerConfig(mode="linear_symmetric")
    )
    found = experimental.linear_quantize_activations(plain(), configuration, data(1))
    assert describe(load_program(found)) == describe(load_program(quantize(plain(), data(1))))


def test_a_yaml_file_can_name_the_guides_class(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "config_type: OpActivationLinearQuantizerConfig\nglobal_config:\n  mode: linear\n"
    )
    found = OptimizationConfig.from_yaml(file)
    expected = experimental.OpActivationLinearQuantizerConfig("linear")
    assert found == OptimizationConfig(expected)
    assert type(found.global_config) is experimental.OpActivationLinearQuantizerConfig


@pytest.mark.parametrize(
    "options",
    [{"granularity": "per_tensor"}, {"block_size": 8}, {"weight_threshold": 10}],
    ids=lambda options: next(iter(options)),
)
def test_option_without_effect_is_warned_of_by_name(options):
    configuration = OptimizationConfig(experimental.OpActivationLinearQuantizerConfig(**options))
    with pytest.warns(UserWarning, match=next(iter(options))) as caught:
        found = linear_quantize_activations(plain(), configuration, data(1))
    ours = [warning for warning in caught if warning.category is UserWarning]
    assert [warning.filename for warning in ours] == [__file__]
    assert op_types(found).count("quantize") == 2


def test_default_options_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        quantize(plain(), data(1))


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_four_bits_are_refused_before_any_sample_is_taken(dtype):
    def never():
        raise AssertionError
        yield

    with pytest.raises(ValueError, match=f"int8 or uint8 only, got {dtype}"):
        linear_quantize_activations(
            plain(), OptimizationConfig(OpLinearQuantizerConfig(dtype=dtype)), never()
        )


def test_four_bits_fail_inside_coremltools():
    with pytest.raises(ValueError, match="unrecognized output dtype"):
        quantize_by_coremltools(plain(), dtype="int4")


# --- the model that comes out, and what went in ---


@pytest.mark.parametrize("target", ["iOS16", "iOS17", "iOS18"])
def test_result_is_for_ios17_or_newer(target):
    model = program(one_conv, target=target)
    version = quantize(model).get_spec().specificationVersion
    assert version == max(8, model.get_spec().specificationVersion)


def test_model_and_samples_are_left_as_they_were():
    model = plain()
    before = model.get_spec().SerializeToString()
    some = [{None: integers(*SHAPE)}]
    copy = some[0][None].copy()
    quantize(model, some)
    assert model.get_spec().SerializeToString() == before
    assert list(some[0]) == [None]
    np.testing.assert_array_equal(some[0][None], copy)


def test_sample_without_a_name_is_the_only_input():
    some = data(2)
    unnamed = [{None: some[0]["x"]}]
    assert describe(load_program(quantize(plain(), unnamed))) == describe(
        load_program(quantize(plain(), some))
    )


def test_op_group_size_changes_nothing():
    expected = describe(load_program(quantize(plain(), data(1, 2))))
    configuration = OptimizationConfig(OpLinearQuantizerConfig())
    found = linear_quantize_activations(plain(), configuration, data(1, 2), 1)
    assert describe(load_program(found)) == expected


def test_quantized_model_can_be_quantized_again():
    once = quantize(two_convs(), data(1))
    twice = quantize(once, data(1))
    assert op_types(twice).count("quantize") == op_types(once).count("quantize")


def test_infinite_intermediate_leaves_its_op_alone():
    def body(x):
        huge = mb.exp(x=mb.mul(x=x, y=np.float16(100), name="m"), name="e")
        return conv(huge, "a")

    report = CompressionReport()
    quantize(program(body), data(2), report=report)
    assert report.activations == {}
    assert report.activations_skipped == {"a": "calibration saw NaN or infinity in its input e"}


def test_input_of_integers_is_taken():
    def body(x, i):
        return mb.add(x=x, y=mb.cast(x=i, dtype="fp32", name="i_cast"), name="sum")

    inputs = {"x": placeholder((2, 4)), "i": mb.placeholder(shape=(2, 4), dtype=types.int32)}
    model = program(body, inputs=inputs, dtype="fp32")
    found = quantize(model, [{"x": integers(2, 4), "i": np.full((2, 4), 127, np.int32)}])
    assert scales(found)["i_cast"] == 1
