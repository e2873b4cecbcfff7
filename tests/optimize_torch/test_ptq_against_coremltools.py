"""Weights, scales and zero points equal coremltools' bit for bit, on random layers and models.

Left out are the cases in which coremltools is known to go wrong: block sizes of transposed
convolutions with unequal channels, blocks of zeros, and weights that float16 cannot scale.
"""

import copy
import warnings

import coremltools.optimize.torch.quantization as ct_quantization
import numpy as np
import pytest
import torch
from ptq_helpers import assert_same_state
from torch import nn

from coreml_assay.optimize.torch import quantization

CASES_PER_CHUNK = 150
CONVOLUTIONS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]


def random_layer(rng):
    def channels():
        return int(rng.choice([1, 2, 3, 4, 6, 8, 12]))

    kind = rng.integers(9)
    if kind == 0:
        heads = int(rng.choice([1, 2]))
        sizes = {"kdim": channels(), "vdim": channels()} if rng.random() < 0.5 else {}
        return nn.MultiheadAttention(heads * channels(), heads, add_bias_kv=True, **sizes)
    if kind <= 2:
        return nn.Linear(channels() * channels(), channels(), bias=bool(rng.integers(2)))
    if kind <= 5:
        groups = int(rng.choice([1, 1, 2]))
        kernel = int(rng.integers(1, 4))
        layer = CONVOLUTIONS[kind - 3]
        return layer(groups * channels(), groups * channels(), kernel, groups=groups)
    groups = int(rng.choice([1, 1, 2]))
    per_group = channels()
    kernel = int(rng.integers(1, 4))
    layer = TRANSPOSED[kind - 6]
    if groups == 1:
        return layer(per_group, per_group, kernel)
    return layer(groups * per_group, groups * groups * per_group, kernel, groups=groups)


def fill(layer, rng):
    """Random weights of several distributions; rounded ones make ties."""
    for parameter in layer.parameters():
        shape = tuple(parameter.shape)
        values = [
            lambda shape=shape: rng.normal(size=shape),
            lambda shape=shape: rng.uniform(-1, 0.5, shape),
            lambda shape=shape: rng.uniform(0.1, 1, shape),
            lambda shape=shape: -rng.lognormal(size=shape),
            lambda shape=shape: np.round(rng.normal(size=shape) * 8) / 8 + 1 / 16,
            lambda shape=shape: rng.standard_cauchy(shape).clip(-50, 50),
        ][rng.integers(6)]()
        values = np.where(np.abs(values) < 1e-4, 1e-4, values)  # no block of zeros
        parameter.data = torch.from_numpy(values * rng.choice([0.1, 1, 3])).to(parameter.dtype)


def random_config(rng):
    config = {
        "weight_dtype": str(rng.choice(["int8", "uint8", "int4", "uint4"])),
        "granularity": str(rng.choice(["per_tensor", "per_channel", "per_block"])),
        "quantization_scheme": str(rng.choice(["symmetric", "affine"])),
    }
    if config["granularity"] == "per_block":
        size, other = (int(b) for b in rng.choice([0, 1, 2, 3, 4, 5, 6, 8], 2))
        config["block_size"] = [size or 2, (size, other), (size, other, 0), (size,)][
            rng.integers(4)
        ]
    return config


def compressed(namespace, model, config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was quantized, or a name finds no layer
        settings = namespace.PostTrainingQuantizerConfig.from_dict(copy.deepcopy(config))
        return namespace.PostTrainingQuantizer(copy.deepcopy(model), settings).compress()


@pytest.mark.parametrize("chunk", range(16))
def test_equals_coremltools_bit_for_bit(chunk, caplog):
    quantized = 0
    for case in range(CASES_PER_CHUNK):
        rng = np.random.default_rng([chunk, case])
        layer = random_layer(rng)
        if rng.random() < 0.2:
            layer = layer.half()
        fill(layer, rng)
        config = {"global_config": random_config(rng)}
        expected = compressed(ct_quantization, layer, config).state_dict()
        found = compressed(quantization, layer, config).state_dict()
        version = found.pop("_COREML_/metadata_version", None)
        assert_same_state(found, expected)
        assert (version is not None) == (len(expected) > len(layer.state_dict()))
        quantized += version is not None
    assert quantized > CASES_PER_CHUNK / 2


class Custom(nn.Linear):
    pass


def nested_model():
    attention = nn.MultiheadAttention(4, 2)
    block = nn.ModuleDict({"fc": nn.Linear(4, 6), "act": nn.ReLU(), "fc2": Custom(6, 4)})
    return nn.ModuleDict(
        {
            "stem": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
            "block": nn.ModuleList([block, copy.deepcopy(block)]),
            "attention": attention,
            "embedding": nn.Embedding(4, 4),
            "head": nn.ConvTranspose1d(4, 4, 1),
        }
    )


NAMES = ["stem", r"stem\.0", r"block\.\d\.fc", r".*fc\d?", "attention", ".*", "head", "fc"]
TYPES = ["Linear", nn.Linear, Custom, "Custom", nn.Conv2d, "MultiheadAttention", nn.ReLU]


@pytest.mark.parametrize("case", range(60))
def test_selects_the_same_layers_as_coremltools(case):
    rng = np.random.default_rng(case)

    def entry():
        # One scheme for all, which both require.
        config = {**random_config(rng), "quantization_scheme": "affine"}
        return None if rng.random() < 0.3 else config

    config = {
        "global_config": entry(),
        "module_type_configs": {
            TYPES[i]: entry() for i in rng.permutation(len(TYPES))[: rng.integers(4)]
        },
        "module_name_configs": {
            NAMES[i]: entry() for i in rng.permutation(len(NAMES))[: rng.integers(4)]
        },
    }
    torch.manual_seed(case)
    model = nested_model()
    expected = compressed(ct_quantization, model, config).state_dict()
    found = compressed(quantization, model, config).state_dict()
    found.pop("_COREML_/metadata_version", None)
    assert_same_state(found, expected)
