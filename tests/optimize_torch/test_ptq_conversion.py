"""What conversion to Core ML makes of quantized models: exactly the weights PyTorch computes with.

Every constexpr operation of the ML program is dequantized here, in the precision of its scale,
and compared bit for bit with the parameter of its name.
"""

import itertools
import warnings

import coremltools as ct
import numpy as np
import pytest
import torch
from ptq_helpers import LAYERS, bits, compress, convert, decompressed, quantizer
from torch import nn

FLOAT32 = {"compute_precision": ct.precision.FLOAT32}
CODES = list(itertools.product(["int8", "uint8", "int4", "uint4"], ["symmetric", "affine"]))
GRANULARITIES = [
    {"granularity": "per_tensor"},
    {"granularity": "per_channel"},
    {"granularity": "per_block", "block_size": 2},
    {"granularity": "per_block", "block_size": [3, 2]},
]


def inputs_of(name):
    return tuple(torch.rand(shape) for shape in LAYERS[name][1])


def make_layer(name):
    torch.manual_seed(0)
    return LAYERS[name][0]()


def assert_program_holds_weights(program, model, names):
    found = decompressed(program)
    assert found.keys() == set(names)
    for name, weight in found.items():
        expected = model.get_parameter(name).detach().numpy()
        assert weight.dtype == expected.dtype
        assert np.array_equal(bits(weight), bits(expected)), name


def assert_converts_exactly(name, target, **config):
    q = quantizer(make_layer(name), **config)
    model = q.compress()
    program = convert(model, inputs_of(name), target, **FLOAT32)
    assert_program_holds_weights(program, model, q.report())


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS17, ct.target.iOS18])
@pytest.mark.parametrize("name", LAYERS)
def test_default_config_converts_exactly(name, target):
    assert_converts_exactly(name, target)


@pytest.mark.parametrize(("dtype", "scheme"), CODES)
@pytest.mark.parametrize("name", ["Linear", "ConvTranspose2d", "MultiheadAttention"])
def test_all_codes_convert_exactly(name, dtype, scheme):
    assert_converts_exactly(
        name, ct.target.iOS18, weight_dtype=dtype, quantization_scheme=scheme, **GRANULARITIES[2]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "scheme"), CODES)
@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_combination_converts_exactly_for_ios18(name, granularity, dtype, scheme):
    if "Attention" in name and "block_size" in granularity:
        granularity = {"granularity": "per_block", "block_size": [4, 2]}  # 8 output channels
    assert_converts_exactly(
        name, ct.target.iOS18, weight_dtype=dtype, quantization_scheme=scheme, **granularity
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS17])
@pytest.mark.parametrize(("dtype", "scheme"), CODES[:4])
@pytest.mark.parametrize("granularity", GRANULARITIES[:2], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_8_bit_combination_converts_exactly_before_ios18(
    name, granularity, dtype, scheme, target
):
    assert_converts_exactly(
        name, target, weight_dtype=dtype, quantization_scheme=scheme, **granularity
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_channel_of_zeros_converts_exactly(dtype, scheme):
    """With scale 0 the converter would divide 0 by 0 and take all codes for signed."""
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    model.weight.data[1] = 0
    quantized = compress(model, weight_dtype=dtype, quantization_scheme=scheme)
    program = convert(quantized, (torch.rand(1, 8),), ct.target.iOS18, **FLOAT32)
    assert_program_holds_weights(program, quantized, ["weight"])
    assert not quantized.weight[1].any()


def test_model_compressed_twice_converts_exactly():
    model = nn.Sequential(nn.Linear(8, 4))
    once = compress(model)
    with pytest.warns(UserWarning, match="compressed already"):
        twice = compress(once, weight_dtype="int4")
    program = convert(twice, (torch.rand(1, 8),), ct.target.iOS18, **FLOAT32)
    assert_program_holds_weights(program, once, ["0.weight"])


def test_exported_model_converts_exactly():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3)).eval()
    quantized = compress(model, weight_dtype="uint4", quantization_scheme="affine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and coremltools' own
        exported = torch.export.export(quantized, (torch.rand(1, 4, 5, 5),))
        program = ct.convert(
            exported.run_decompositions({}),
            minimum_deployment_target=ct.target.iOS18,
            convert_to="milinternal",
            **FLOAT32,
        )
    found = decompressed(program)
    assert found.keys() == {"p_0_weight", "p_2_weight"}
    for name, weight in found.items():
        expected = quantized.get_parameter(name[2:].replace("_", ".")).detach().numpy()
        assert np.array_equal(bits(weight), bits(expected))


class TiedLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS18])
def test_shared_weights_convert_exactly_and_once(target):
    for model, inputs, name in (
        (TiedLayers(), torch.rand(1, 4), "first.weight"),
        (TiedEmbedding(), torch.randint(0, 10, (1, 3)).int(), "embedding.weight"),
    ):
        quantized = compress(model)
        program = convert(quantized, (inputs,), target, **FLOAT32)
        assert_program_holds_weights(program, quantized, [name])


def test_pruned_weight_is_quantized_on_top_and_converts_exactly():
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    model.weight.data[torch.rand(4, 8) < 0.5] = 0
    model.register_buffer("_COREML_/weight/compression_type", torch.tensor([1]))
    quantized = compress(model)
    state = quantized.state_dict()
    assert state["_COREML_/weight/compression_type"].tolist() == [1, 3]
    program = convert(quantized, (torch.rand(1, 8),), ct.target.iOS18, **FLOAT32)
    (shift_scale,) = program.find_ops(op_type="constexpr_sparse_blockwise_shift_scale")
    dense = np.zeros((4, 8), np.float32)
    mask = shift_scale.data_mask.val != 0
    dense[mask] = shift_scale.nonzero_data.val
    dense *= shift_scale.scale.val
    assert np.array_equal(dense, quantized.weight.detach().numpy())


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("dtype", "scheme"), CODES)
def test_narrow_model_converts_to_the_same_narrow_weights(precision, dtype, scheme):
    """Models are converted in float32; cast to it, they give the same narrow weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 24, 3), nn.ReLU(), nn.ConvTranspose2d(24, 5, 3))
    model = model.to(precision)
    quantized = compress(model, weight_dtype=dtype, quantization_scheme=scheme)
    assert quantized.state_dict()["0._COREML_/weight/quantization_scale"].dtype is precision
    stored = {name: p.detach().clone() for name, p in quantized.named_parameters()}
    inputs = (torch.rand(1, 4, 6, 6),)
    program = convert(quantized.float(), inputs, ct.target.iOS18, **FLOAT32)
    found = decompressed(program)
    assert found.keys() == {"0.weight", "2.weight"}
    for name, weight in found.items():
        assert torch.equal(torch.from_numpy(weight).to(precision), stored[name])
