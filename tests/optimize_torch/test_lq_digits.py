"""Both recipes of the documentation on a real task: a network that tells digits apart."""

from __future__ import annotations

import copy
import os

import coremltools as ct
import numpy as np
import pytest
import torch

from coreml_assay.accuracy import digits
from coreml_assay.accuracy.metrics import share_correct, signal_to_noise
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program
from coreml_assay.optimize.torch.quantization import (
    LinearQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of tracing and converting, none of ours
]

YAML = """
global_config:
  quantization_scheme: symmetric
  weight_dtype: {dtype}
  milestones:
    - 0
    - 20
    - 80
    - 60
"""


@pytest.fixture(scope="module")
def task():
    images, labels = digits._images()
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[: digits._TRAINED_ON], order[digits._TRAINED_ON :]
    network = digits._trained(images[train], labels[train], 0)
    x, y = torch.from_numpy(images[train]), torch.from_numpy(labels[train])
    return network, x, y, images[test], labels[test]


def evaluated(network, images):
    """The outputs of the converted program, by the evaluator."""
    traced = torch.jit.trace(network, torch.zeros(len(images), 1, 8, 8))
    model = ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[ct.TensorType(shape=(len(images), 1, 8, 8))],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    evaluator = Evaluator(load_program(model))
    (name,) = evaluator.inputs
    return evaluator.predict({name: images})[evaluator.outputs[0]]


def calibrated(network, x, dtype):
    model = copy.deepcopy(network)
    config = LinearQuantizerConfig(
        global_config=ModuleLinearQuantizerConfig(
            quantization_scheme="symmetric", weight_dtype=dtype, milestones=[0, 1000, 1000, 0]
        )
    )
    quantizer = LinearQuantizer(model, config)
    quantizer.prepare(example_inputs=[1, 1, 8, 8], inplace=True)
    quantizer.step()
    for data in x[:512].split(64):
        with torch.no_grad():
            model(data)
    model.eval()
    return quantizer.finalize()


def trained(network, x, y, dtype, folder, seed=0):
    path = folder / "config.yaml"
    path.write_text(YAML.format(dtype=dtype))
    config = LinearQuantizerConfig.from_yaml(os.fspath(path))
    model = copy.deepcopy(network)
    quantizer = LinearQuantizer(model, config)
    model = quantizer.prepare(example_inputs=x[:1], inplace=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-5)
    torch.manual_seed(seed)
    for _ in range(5):
        for chosen in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            quantizer.step()
    return quantizer.finalize(inplace=True)


def test_what_the_recipes_give(task, tmp_path):
    network, x, y, images, labels = task
    exact = network(torch.from_numpy(images)).detach().numpy()

    def figures(finalized):
        outputs = evaluated(finalized, images)
        return share_correct(outputs, labels), signal_to_noise(exact, outputs)

    score, noise = figures(calibrated(network, x, "qint8"))
    floating_point = share_correct(exact, labels)
    assert score >= floating_point - 2 / len(labels)
    assert noise > 30  # dB; a calibration that observed nothing has below 0
    score, noise = figures(trained(network, x, y, "qint8", tmp_path))
    assert score >= floating_point - 2 / len(labels)
    assert noise > 25  # training moves the weights, too


@pytest.mark.parametrize("seed", range(3))
def test_training_at_4_bits_beats_calibration_at_4_bits(task, tmp_path, seed):
    network, x, y, images, labels = task
    exact = network(torch.from_numpy(images)).detach().numpy()
    rounded = evaluated(calibrated(network, x, "qint4"), images)
    learned = evaluated(trained(network, x, y, "qint4", tmp_path, seed), images)
    assert share_correct(learned, labels) > share_correct(rounded, labels)
    assert signal_to_noise(exact, learned) > signal_to_noise(exact, rounded) + 1
