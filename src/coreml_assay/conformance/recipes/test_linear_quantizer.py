"""The page's recipes for LinearQuantizer, line by line as they stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest

from coreml_assay.conformance.linear_quantizing import namespace
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import RECIPE_SIGNAL_TO_NOISE
from coreml_assay.conformance.torch_quantizing import TORCH, build, torch
from coreml_assay.implementations.torch_models import torch_weights
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program
from coreml_assay.numerics.blocks import Array

MODEL = """
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 8, stride=8),
    torch.nn.BatchNorm2d(8),
    torch.nn.ReLU(),
    torch.nn.Conv2d(8, 16, 4, stride=4),
    torch.nn.ReLU(),
    torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(),
    torch.nn.Linear(16, 10),
)
dataloader = [torch.randn(2, 3, 224, 224) for _ in range(4)]
"""
CALIBRATION = """
config = LinearQuantizerConfig(
    global_config=ModuleLinearQuantizerConfig(
        quantization_scheme="symmetric",
        milestones=[0, 1000, 1000, 0],
    )
)

quantizer = LinearQuantizer(model, config)

quantizer.prepare(example_inputs=[1, 3, 224, 224], inplace=True)

# Only step through quantizer once to enable statistics collection (milestone 0),
# and turn batch norm to inference mode (milestone 3)
quantizer.step()

# Do a forward pass through the model with calibration data
for idx, data in enumerate(dataloader):
    with torch.no_grad():
        model(data)

model.eval()
quantized_model = quantizer.finalize()
"""
NAMES = ("LinearQuantizer", "LinearQuantizerConfig", "ModuleLinearQuantizerConfig")
IMPORTS = "".join(f"{name} = cto.torch.quantization.{name}\n" for name in NAMES)


def _scope(subject: Subject, source: str) -> dict[str, Any]:
    quantization = namespace(subject)
    scope: dict[str, Any] = {"torch": torch, "ct": ct}
    torch.manual_seed(0)
    exec(source, scope)
    return {**scope, **{name: getattr(quantization, name) for name in NAMES}}


def _signal_to_noise(expected: Array, found: Array) -> float:
    """In decibels; not a number counts as nothing but noise."""
    noise = np.square(found.astype(np.float64) - expected).sum()
    ratio = np.square(expected.astype(np.float64)).sum() / max(float(noise), 1e-30)
    return float(10 * np.log10(ratio)) if np.isfinite(ratio) else -np.inf


@pytest.mark.clause("P.5")
def test_data_calibrated_quantization(torch_subject: Subject) -> None:
    torch_subject.use_snippet(
        f"{TORCH}{MODEL}{IMPORTS}{CALIBRATION}print(quantized_model.state_dict())\n"
    )
    scope = _scope(torch_subject, MODEL)
    x = scope["dataloader"][0]
    with torch.no_grad():
        expected = build(MODEL).eval()(x).numpy()
    with torch_subject.recording():
        exec(CALIBRATION, scope)
        quantized = scope["quantized_model"]
        with torch.no_grad():
            found = quantized(x).numpy()
        weights = torch_weights(quantized).values()
    counted = sum(weight.is_quantized for weight in weights)
    torch_subject.expect_equal(counted, 3, "the number of quantized weights")
    ratio = _signal_to_noise(expected, found)
    torch_subject.expect(
        ratio >= RECIPE_SIGNAL_TO_NOISE,
        "the quantized model computes something else",
        f"a signal-to-noise ratio of at least {RECIPE_SIGNAL_TO_NOISE} dB",
        f"{ratio:.1f} dB",
    )


YAML = """\
global_config:
  quantization_scheme: symmetric
  milestones:
    - 0
    - 100
    - 400
    - 200
module_name_configs:
  first_layer: null
  final_layer: null
"""
TRAINED_MODEL = """
from collections import OrderedDict
model = torch.nn.Sequential(OrderedDict(
    first_layer=torch.nn.Conv2d(1, 2, 3),
    relu=torch.nn.ReLU(),
    middle=torch.nn.Conv2d(2, 4, 5, stride=5),
    norm=torch.nn.BatchNorm2d(4),
    act=torch.nn.ReLU(),
    flat=torch.nn.Flatten(),
    final_layer=torch.nn.Linear(36, 2),
))
inputs = [torch.randn(4, 1, 20, 20) for _ in range(8)]
data = [(x, (x.mean((1, 2, 3)) > 0).long()) for x in inputs] * 51
loss_fn = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)  # the loop leaves gradients to add up
"""
TRAINING = """
# Initialize the quantizer
config = LinearQuantizerConfig.from_yaml("/path/to/yaml/config.yaml")
quantizer = LinearQuantizer(model, config)

# Prepare the model to insert FakeQuantize layers for QAT
example_input = torch.rand(1, 1, 20, 20)
model = quantizer.prepare(example_inputs=example_input, inplace=True)

# Use quantizer in your PyTorch training loop
for inputs, labels in data:
    output = model(inputs)
    loss = loss_fn(output, labels)
    loss.backward()
    optimizer.step()
    quantizer.step()

# Convert operations to their quantized counterparts using parameters learnt via QAT
model = quantizer.finalize(inplace=True)
"""
CONVERSION = """
# Convert the PyTorch models to CoreML format
traced_model = torch.jit.trace(model, example_input)
coreml_model = ct.convert(
    traced_model,
    convert_to="mlprogram",
    inputs=[ct.TensorType(shape=example_input.shape)],
    minimum_deployment_target=ct.target.iOS17,
)
"""


@pytest.mark.clause("P.6", "P.7")
def test_quantization_aware_training_and_conversion(torch_subject: Subject, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(YAML)
    recipe = TRAINING.replace("/path/to/yaml/config.yaml", "config.yaml")
    torch_subject.use_snippet(
        f"{TORCH}from pathlib import Path\nimport coremltools as ct\n"
        f"Path('config.yaml').write_text({YAML!r})\n"
        f"{TRAINED_MODEL}{IMPORTS}{recipe}{CONVERSION}print(coreml_model)\n"
    )
    scope = _scope(torch_subject, TRAINED_MODEL)
    before = scope["loss_fn"](*_all(scope)).item()
    with torch_subject.recording():
        exec(TRAINING.replace("/path/to/yaml/config.yaml", str(file)), scope)
        weights = torch_weights(scope["model"])
        after = scope["loss_fn"](*_all(scope)).item()
        exec(CONVERSION, scope)
        program = load_program(scope["coreml_model"])
    quantized = [
        (name.split(".")[0], weight.n_bits)
        for name, weight in weights.items()
        if weight.is_quantized
    ]
    torch_subject.expect_equal(quantized, [("middle", 8)], "the quantized weights and their width")
    torch_subject.expect(after < before, "training does not lower the loss", f"< {before}", after)
    example = scope["example_input"]
    evaluator = Evaluator(program)
    (name,) = evaluator.inputs
    (found,) = evaluator.predict({name: example.numpy()}).values()
    ratio = _signal_to_noise(scope["model"](example).detach().numpy(), np.asarray(found))
    torch_subject.expect(
        ratio >= RECIPE_SIGNAL_TO_NOISE,
        "the program computes something else",
        f"a signal-to-noise ratio of at least {RECIPE_SIGNAL_TO_NOISE} dB",
        f"{ratio:.1f} dB",
    )


def _all(scope: dict[str, Any]) -> tuple[Any, Any]:
    """The model's outputs for each different batch, and their labels."""
    pairs = scope["data"][:8]
    with torch.no_grad():
        return (
            torch.cat([scope["model"](inputs) for inputs, _ in pairs]),
            torch.cat([labels for _, labels in pairs]),
        )
