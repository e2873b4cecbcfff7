"""Arguments of linear_quantize_activations: models, configurations, samples; what comes back."""

from __future__ import annotations

import gc
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest

from coreml_assay.conformance.activation_quantizing import (
    CONV,
    build,
    namespace,
    quantize,
    quantizing,
    with_options,
)
from coreml_assay.conformance.subject import NotMeasured, Subject
from coreml_assay.implementations import predicting
from coreml_assay.mil.activation_samples import SHAPE, data, integers, pixels
from coreml_assay.mil.pairs import described
from coreml_assay.mil.program import load_program


@pytest.mark.clause("A.1")
def test_the_given_model_is_not_changed(coreml_subject: Subject) -> None:
    before = build(CONV).get_spec()
    found = quantize(coreml_subject)
    after = found.given.get_spec()
    coreml_subject.expect_equal(after.description, before.description, "the description")
    types = [each.op_type for each in load_program(found.given).functions["main"].operations]
    coreml_subject.expect("quantize" not in types, "the model given has pairs", "none", types)


@pytest.mark.clause("A.1")
@pytest.mark.parametrize("target", ["iOS16", "iOS17", "iOS18"])
def test_the_result_is_for_ios17_or_newer(coreml_subject: Subject, target: str) -> None:
    found = quantize(coreml_subject, f"program(one_conv, target={target!r})")
    before, after = found.given.get_spec(), found.model.get_spec()
    coreml_subject.expect_equal(after.description, before.description, "the model's description")
    version = max(before.specificationVersion, ct.target.iOS17.value)
    coreml_subject.expect_equal(after.specificationVersion, version, "the specification version")


@pytest.mark.clause("A.23")
def test_samples_are_not_changed(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, CONV, "[{None: integers(*SHAPE)}]")
    coreml_subject.expect_equal(list(found.samples[0]), [None], "the keys of the sample given")
    coreml_subject.expect_equal(found.samples[0][None], integers(*SHAPE), "the array given")


@pytest.mark.clause("A.23")
def test_the_only_input_needs_no_name(coreml_subject: Subject) -> None:
    named = quantize(coreml_subject, CONV, "data(2)").described()
    found = quantize(coreml_subject, CONV, "[{None: data(2)[0]['x']}]").described()
    coreml_subject.expect_equal(found, named, "the program")


@pytest.mark.clause("A.23")
def test_two_inputs_need_names(coreml_subject: Subject) -> None:
    model = "program(lambda x, y: mb.add(x=x, y=y, name='sum'), [SHAPE, SHAPE])"
    action = quantizing(coreml_subject, model, "[{None: integers(*SHAPE)}]")
    coreml_subject.expect_raises(ValueError, action, saying="multiple inputs")


@pytest.mark.clause("A.23")
def test_an_input_of_integers_is_taken(coreml_subject: Subject) -> None:
    model = (
        "program(lambda x, i: mb.add(x=x, y=mb.cast(x=i, dtype='fp32', name='c'), name='sum'),"
        " inputs={'x': placeholder((2, 4)), 'i': mb.placeholder(shape=(2, 4), dtype=types.int32)},"
        " dtype='fp32')"
    )
    samples = "[{'x': integers(2, 4), 'i': np.full((2, 4), 127, np.int32)}]"
    found = quantize(coreml_subject, model, samples)
    coreml_subject.expect_equal(sorted(found.quantized()), ["c", "x"], "the tensors quantized")


# Samples that do not fit, and a word that the message has to have.
BAD = {
    "no samples": ("[]", "sample"),
    "a name that is none": ("[{'X': integers(*SHAPE)}]", "X"),
    "an input too few": ("[data(1)[0], {}]", "x"),
    "an input too many": ("[{**data(1)[0], 'y': integers(*SHAPE)}]", "y"),
    "another shape": ("[data(1)[0], {'x': integers(1, 3, 8, 7)}]", "x"),
    "another rank": ("[{'x': integers(3, 8, 8)}]", "x"),
    "integers for floats": ("[{'x': integers(*SHAPE).astype(np.int32)}]", "x"),
    "NaN": ("[data(1)[0], {'x': spread(-1, np.nan)}, data(1)[0]]", "x"),
    "infinity": ("[{'x': spread(-np.inf, 1)}]", "x"),
}


@pytest.mark.clause("A.24")
@pytest.mark.parametrize("kind", BAD)
def test_samples_that_do_not_fit_are_refused(coreml_subject: Subject, kind: str) -> None:
    samples, word = BAD[kind]
    action = quantizing(coreml_subject, CONV, samples)
    coreml_subject.expect_raises((ValueError, TypeError, KeyError), action, saying=word)


@pytest.mark.clause("A.25")
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_four_bits_are_refused_by_name(coreml_subject: Subject, dtype: str) -> None:
    action = quantizing(coreml_subject, configuration=with_options(dtype=dtype))
    coreml_subject.expect_raises(ValueError, action, saying="int8 or uint8")


WITHOUT_EFFECT: dict[str, Any] = {
    "granularity": "per_tensor",
    "block_size": 8,
    "weight_threshold": 9,
}


@pytest.mark.clause("A.26")
@pytest.mark.parametrize("option", WITHOUT_EFFECT)
def test_an_option_without_effect_has_none(coreml_subject: Subject, option: str) -> None:
    expected = quantize(coreml_subject).described()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = quantize(
            coreml_subject, configuration=with_options(**{option: WITHOUT_EFFECT[option]})
        ).described()
    coreml_subject.expect_equal(found, expected, "the program")


@pytest.mark.clause("A.26")
@pytest.mark.parametrize("option", WITHOUT_EFFECT)
def test_an_option_without_effect_is_warned_of_by_name(
    coreml_subject: Subject, option: str
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # When a temporary folder is given back is chance, and so are the words about it.
        warnings.simplefilter("ignore", ResourceWarning)
        quantize(coreml_subject, configuration=with_options(**{option: WITHOUT_EFFECT[option]}))
    messages = [str(warning.message) for warning in caught]
    coreml_subject.expect(
        any(option in message for message in messages), "no warning names it", option, messages
    )


@pytest.mark.clause("A.27")
@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_group_size_changes_nothing(coreml_subject: Subject, size: int) -> None:
    model = "program(two_convs)"
    expected = quantize(coreml_subject, model).described()
    arguments = f", calibration_op_group_size={size}"
    found = quantize(coreml_subject, model, arguments=arguments).described()
    coreml_subject.expect_equal(found, expected, "the program")


@pytest.mark.clause("A.28")
def test_classifiers_are_calibrated(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, "classifier()", "data(1, 2)")
    coreml_subject.expect_equal(
        found.quantized(), ["x_to_fp16", "a_cast_fp16"], "the tensors quantized"
    )
    feature = found.model.get_spec().description.predictedFeatureName
    coreml_subject.expect_equal(feature, "classLabel", "the name of the predicted feature")


# Which channels of the pixels the program takes, in its order, and Python that makes the image.
IMAGES = {
    "RGB": ([0, 1, 2], "pixels"),
    "BGR": ([2, 1, 0], "pixels"),
    "GRAYSCALE": ([0], "pixels[:, :, 0]"),
    "GRAYSCALE_FLOAT16": ([0], "pixels[:, :, 0].astype(np.float32)"),
}


@pytest.mark.clause("A.35")
@pytest.mark.parametrize("layout", IMAGES)
def test_images_are_taken(coreml_subject: Subject, layout: str) -> None:
    if find_spec("PIL") is None:
        raise NotMeasured("needs Pillow: pip install pillow")
    channels, image = IMAGES[layout]
    made = image.replace("pixels", "pixels()")
    samples = f"[{{'x': __import__('PIL.Image').Image.fromarray({made})}}]"
    found = quantize(coreml_subject, f"of_images({layout!r})", samples).pairs()
    values = pixels()[:, :, channels].astype(np.float32) / 4 - 1
    weight = integers(4, len(channels), 1, 1, seed=1)[:, :, 0, 0]
    expected = [np.float16(np.abs(each).max() / 127) for each in (values, values @ weight.T)]
    coreml_subject.expect_equal([pair.scale for pair in found], expected, "the scales")


@pytest.mark.clause("A.35")
def test_an_image_of_another_mode_is_refused(coreml_subject: Subject) -> None:
    if find_spec("PIL") is None:
        raise NotMeasured("needs Pillow: pip install pillow")
    image = "__import__('PIL.Image').Image.new('L', (8, 8))"
    action = quantizing(coreml_subject, "of_images('RGB')", f"[{{'x': {image}}}]")
    coreml_subject.expect_raises((TypeError, ValueError), action, saying="RGB")


@pytest.mark.clause("A.29")
def test_the_model_can_be_given_by_keyword(coreml_subject: Subject) -> None:
    coreml = namespace(coreml_subject)
    expected = quantize(coreml_subject, CONV, "data(1)").described()
    coreml_subject.extend_snippet(
        f"with predicting(load_implementation({coreml_subject.loaded_as!r})):\n"
        "    cto.coreml.linear_quantize_activations(\n"
        "        mlmodel=model, config=config, sample_data=samples)\n"
    )
    with coreml_subject.recording(), predicting(coreml_subject.implementation):
        config = coreml.OptimizationConfig(global_config=coreml.OpLinearQuantizerConfig())
        model = coreml.linear_quantize_activations(
            mlmodel=build(CONV), config=config, sample_data=data(1)
        )
        found = described(load_program(model))
    coreml_subject.expect_equal(found, expected, "the program")


@pytest.mark.clause("A.30")
def test_a_model_that_is_no_program_is_a_type_error(coreml_subject: Subject) -> None:
    network = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    )
    network.add_activation("relu", "RELU", "x", "y")
    model = ct.models.MLModel(network.spec, skip_model_load=True)
    coreml = namespace(coreml_subject)
    config = coreml.OptimizationConfig(global_config=coreml.OpLinearQuantizerConfig())
    sample = {"x": np.zeros(3, np.float32)}
    coreml_subject.use_snippet("# a neural network, made by NeuralNetworkBuilder\n")
    with predicting(coreml_subject.implementation):
        coreml_subject.expect_raises(
            TypeError, lambda: coreml.linear_quantize_activations(model, config, [sample])
        )


@pytest.mark.clause("A.30")
def test_a_model_with_several_functions_is_a_value_error(
    coreml_subject: Subject, tmp_path: Path
) -> None:
    paths = [str(tmp_path / name) for name in ("one.mlpackage", "both.mlpackage")]
    build(CONV).save(paths[0])
    functions = ct.utils.MultiFunctionDescriptor()
    functions.add_function(paths[0], "main", "first")
    functions.add_function(paths[0], "main", "second")
    functions.default_function_name = "first"
    ct.utils.save_multifunction(functions, paths[1])
    model = ct.models.MLModel(paths[1], skip_model_load=True)
    coreml = namespace(coreml_subject)
    config = coreml.OptimizationConfig(global_config=coreml.OpLinearQuantizerConfig())
    coreml_subject.use_snippet("# a model of two functions, made by save_multifunction\n")
    with predicting(coreml_subject.implementation):
        coreml_subject.expect_raises(
            ValueError,
            lambda: coreml.linear_quantize_activations(model, config, data(1)),
            saying="multifunction",
        )


@pytest.mark.clause("A.31")
def test_no_mac_is_needed(coreml_subject: Subject) -> None:
    if sys.platform == "darwin":
        raise NotMeasured("needs a machine without Core ML: Linux")
    coreml = namespace(coreml_subject)
    coreml_subject.use_snippet(
        "from coreml_assay.mil.activation_programs import *\n"
        "from coreml_assay.mil.activation_samples import *\n"
        "op_config = cto.coreml.OpLinearQuantizerConfig()\n"
        "config = cto.coreml.OptimizationConfig(global_config=op_config)\n"
        "print(cto.coreml.linear_quantize_activations(program(one_conv), config, data(1)))\n"
    )
    with coreml_subject.recording():
        config = coreml.OptimizationConfig(global_config=coreml.OpLinearQuantizerConfig())
        model = coreml.linear_quantize_activations(build(CONV), config, data(1))
        found = described(load_program(model))
    expected = quantize(coreml_subject, CONV, "data(1)").described()
    coreml_subject.expect_equal(found, expected, "the program")


@pytest.mark.clause("A.33")
def test_what_stays_on_the_disk_does_not_grow_with_the_samples(
    coreml_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    for count in (1, 6):
        folder = tmp_path / str(count)
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        found = quantize(coreml_subject, CONV, f"data(*{count} * [1])")
        gc.collect()
        left.append(len(list(folder.iterdir())))
        del found
    coreml_subject.expect(
        left[0] == left[1],
        "folders stay behind",
        expected=f"{left[0]} of 6 samples as of 1 sample",
        found=left[1],
    )


@pytest.mark.clause("A.32")
def test_the_guides_names_do_the_same(coreml_subject: Subject) -> None:
    coreml = namespace(coreml_subject)
    expected = quantize(coreml_subject, CONV, "data(1)").described()
    coreml_subject.use_snippet(
        "from coreml_assay.implementations import predicting\n"
        "from coreml_assay.mil.activation_programs import *\n"
        "from coreml_assay.mil.activation_samples import *\n"
        "experimental = cto.coreml.experimental\n"
        "op_config = experimental.OpActivationLinearQuantizerConfig(mode='linear_symmetric')\n"
        "config = cto.coreml.OptimizationConfig(global_config=op_config)\n"
        f"with predicting(load_implementation({coreml_subject.loaded_as!r})):\n"
        "    print(experimental.linear_quantize_activations(program(one_conv), config, data(1)))\n"
    )
    with (
        coreml_subject.recording(),
        warnings.catch_warnings(),
        predicting(coreml_subject.implementation),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        op_config = coreml.experimental.OpActivationLinearQuantizerConfig(mode="linear_symmetric")
        config = coreml.OptimizationConfig(global_config=op_config)
        model = coreml.experimental.linear_quantize_activations(build(CONV), config, data(1))
        found = described(load_program(model))
    coreml_subject.expect_equal(found, expected, "the program")


@pytest.mark.clause("A.32")
def test_a_dictionary_can_name_the_guides_class(coreml_subject: Subject) -> None:
    coreml = namespace(coreml_subject)
    options = {
        "config_type": "OpActivationLinearQuantizerConfig",
        "global_config": {"mode": "linear", "dtype": "uint8"},
        "op_type_configs": {"conv": None},
    }
    coreml_subject.use_snippet(f"print(cto.coreml.OptimizationConfig.from_dict({options!r}))\n")
    with coreml_subject.recording():
        found = coreml.OptimizationConfig.from_dict(options)
    expected = coreml.OptimizationConfig(
        coreml.experimental.OpActivationLinearQuantizerConfig(mode="linear", dtype="uint8"),
        op_type_configs={"conv": None},
    )
    coreml_subject.expect_equal(found, expected, "the configuration")
