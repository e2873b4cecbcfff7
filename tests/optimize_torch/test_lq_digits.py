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
    - 400
    - 200
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


def trained(network, x, y, dtype, folder):
    path = folder / "config.yaml"
    path.write_text(YAML.format(dtype=dtype))
    config = LinearQuantizerConfig.from_yaml(os.fspath(path))
    model = copy.deepcopy(network)
    quantizer = LinearQuantizer(model, config)
    model = quantizer.prepare(example_inputs=x[:1], inplace=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    torch.manual_seed(0)
    for _ in range(25):
        for chosen in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            quantizer.step()
    return quantizer.finalize(inplace=True)


def test_training_at_4_bits_beats_calibration_at_4_bits(task, tmp_path):
    network, x, y, images, labels = task
    exact = network(torch.from_numpy(images)).detach().numpy()
    found = {"float": exact}
    for dtype, name in (("qint8", "W8A8"), ("qint4", "W4A8")):
        found[f"{name} calibrated"] = evaluated(calibrated(network, x, dtype), images)
        found[f"{name} trained"] = evaluated(trained(network, x, y, dtype, tmp_path), images)
    score = {name: share_correct(outputs, labels) for name, outputs in found.items()}
    snr = {name: signal_to_noise(exact, out) for name, out in found.items()}
    assert score["W8A8 calibrated"] >= score["float"] - 2 / len(labels)
    assert snr["W8A8 calibrated"] > 30  # dB; a calibration that observed nothing has below 0
    assert score["W8A8 trained"] >= score["float"] - 3 / len(labels)
    assert score["W4A8 trained"] > score["W4A8 calibrated"]
