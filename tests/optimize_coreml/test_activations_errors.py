"""Every wrong argument is answered by one line that says what is wrong."""

from __future__ import annotations

import sys

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import pytest
from activation_helpers import config, conv, ignore_noise, integers, program
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.optimize import coreml
from coreml_assay.optimize.coreml import linear_quantize_activations

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]

SHAPE = (1, 3, 8, 8)
GOOD = {"x": integers(*SHAPE)}


@pytest.fixture(scope="module")
def model():
    return program(lambda x: conv(x, "a"))


def broken(value):
    array = integers(*SHAPE)
    array[0, 0, 0, 0] = value
    return {"x": array}


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([], ValueError, "sample_data is empty: calibration needs at least one sample"),
        (range(0), ValueError, "sample_data is empty: calibration needs at least one sample"),
        ([{"X": GOOD["x"]}], ValueError, "sample 0: no input is named 'X'; there are 'x'"),
        ([{"xx": GOOD["x"]}], ValueError, "sample 0: no input is named 'xx'; did you mean 'x'?"),
        ([GOOD, {}], ValueError, "sample 1: missing input 'x'"),
        (
            [GOOD, {"x": integers(1, 3, 8, 7)}],
            ValueError,
            "sample 1: input 'x' has shape (1, 3, 8, 8), got (1, 3, 8, 7)",
        ),
        (
            [{"x": GOOD["x"].astype(np.int32)}],
            ValueError,
            "sample 0: input 'x' takes floating-point numbers (fp32), got int32",
        ),
        (
            [GOOD, GOOD, broken(np.nan)],
            ValueError,
            "sample 2: input 'x' holds NaN where a range needs finite numbers",
        ),
        (
            [broken(-np.inf)],
            ValueError,
            "sample 0: input 'x' holds infinity, or values beyond float32, "
            "where a range needs finite numbers",
        ),
        (
            ["picture.png"],
            TypeError,
            "sample 0: expected a dictionary of input name to array, or an array, got str",
        ),
        (
            GOOD,
            TypeError,
            "sample_data must be a list, or another iterable, of dictionaries of input name to "
            "array; got dict",
        ),
        (
            3,
            TypeError,
            "sample_data must be a list, or another iterable, of dictionaries of input name to "
            "array; got int",
        ),
    ],
    ids=str,
)
def test_samples(model, samples, error, message):
    with pytest.raises(error) as raised:
        linear_quantize_activations(model, config(coreml), samples)
    assert str(raised.value) == message


def test_sample_without_a_name_for_two_inputs():
    two = program(lambda x, y: mb.add(x=x, y=y, name="sum"), [SHAPE, SHAPE])
    with pytest.raises(ValueError, match="sample 0: When the model has multiple inputs, please"):
        linear_quantize_activations(two, config(coreml), [{None: GOOD["x"]}])


@pytest.mark.parametrize("size", [0, -2, 1.5, "all"])
def test_op_group_size(model, size):
    with pytest.raises(ValueError, match="must be -1 or a positive integer"):
        linear_quantize_activations(model, config(coreml), [GOOD], size)


def test_config_of_another_type(model):
    with pytest.raises(ValueError, match="config must be an OptimizationConfig, got dict"):
        linear_quantize_activations(model, {"mode": "linear"}, [GOOD])
    with pytest.raises(ValueError, match="config must be an OptimizationConfig"):
        linear_quantize_activations(model, config(cto.coreml), [GOOD])


def test_model_of_another_type(model):
    with pytest.raises(TypeError, match="must be a coremltools MLModel, got str"):
        linear_quantize_activations("model.mlpackage", config(coreml), [GOOD])
    network = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    )
    network.add_activation("relu", "RELU", "x", "y")
    with pytest.raises(TypeError, match="only mlprogram models can be processed"):
        linear_quantize_activations(ct.models.MLModel(network.spec), config(coreml), [GOOD])


def test_several_functions(tmp_path, model):
    paths = [str(tmp_path / name) for name in ("one.mlpackage", "both.mlpackage")]
    model.save(paths[0])
    functions = ct.utils.MultiFunctionDescriptor()
    functions.add_function(paths[0], "main", "first")
    functions.add_function(paths[0], "main", "second")
    functions.default_function_name = "first"
    ct.utils.save_multifunction(functions, paths[1])
    several = ct.models.MLModel(paths[1], skip_model_load=True)
    with pytest.raises(ValueError, match="not supported for a multifunction model"):
        linear_quantize_activations(several, config(coreml), [GOOD])


def test_torch_that_is_not_installed(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "coreml_assay.mil.evaluator", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'coreml-assay\[torch\]'") as raised:
        linear_quantize_activations(model, config(coreml), [GOOD])
    assert "\n" not in str(raised.value)


def test_classifiers_are_calibrated():
    def body(x):
        scores = mb.reduce_mean(x=conv(x, "a"), axes=[0, 2, 3], keep_dims=False, name="scores")
        return mb.softmax(x=scores, axis=0, name="probabilities")

    classifier = ct.convert(
        program_of(body),
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        classifier_config=ct.ClassifierConfig(list("abcd")),
        skip_model_load=True,
    )
    quantized = linear_quantize_activations(classifier, config(coreml), [GOOD])
    assert quantized.get_spec().description.predictedFeatureName == "classLabel"


def program_of(body):
    return mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)(body)
