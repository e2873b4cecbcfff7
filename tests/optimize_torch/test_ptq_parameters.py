"""Parameters that are shared, aliased, computed or compressed already; attention; reports."""

import copy

import numpy as np
import pytest
import torch
from ptq_helpers import assert_skipped, compress, quantizer, same_bits
from torch import nn

from coreml_assay.optimize.torch.quantization import (
    ModulePostTrainingQuantizerConfig,
    PostTrainingQuantizer,
    PostTrainingQuantizerConfig,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Parameters


def test_strides_gradient_flag_and_identity_of_a_parameter_are_kept():
    conv = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    conv.weight.requires_grad_(False)
    linear = nn.Linear(6, 4)
    linear.weight = nn.Parameter(torch.rand(6, 4).t())
    model = nn.Sequential(conv, linear)
    plain = copy.deepcopy(model)
    for layer in plain:
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.contiguous_format)
    before = [(p, p.stride(), p.requires_grad) for p in model.parameters()]
    assert quantizer(model).compress(inplace=True) is model
    for p, (expected, stride, requires_grad) in zip(model.parameters(), before, strict=True):
        assert p is expected
        assert p.stride() == stride
        assert p.requires_grad == requires_grad
    assert all(
        same_bits(a.contiguous(), b.contiguous())
        for a, b in zip(model.parameters(), compress(plain).parameters(), strict=True)
    )


def test_shared_parameter_stays_shared_and_is_quantized_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Embedding(4, 4))
    model[1].weight = model[2].weight = model[0].weight
    q = quantizer(model)
    found = q.compress()
    assert found[0].weight is found[1].weight is found[2].weight
    assert list(q.report()) == ["0.weight", "1.weight", "2.weight"]
    assert q.report().skipped == {}
    assert same_bits(found[0].weight, compress(nn.Sequential(model[0]))[0].weight)
    for layer in found:
        assert "_COREML_/weight/quantization_scale" in layer.state_dict()
        assert getattr(layer, "_COREML_/weight/compression_type").tolist() == [3]


def test_layer_with_two_names_is_quantized_once():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Sequential(layer), nn.Sequential(layer))
    found = compress(model)
    assert getattr(found[0][0], "_COREML_/weight/compression_type").tolist() == [3]
    assert same_bits(found[0][0].weight, compress(layer).weight)


def test_shared_parameter_with_two_configurations_is_skipped():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    config = PostTrainingQuantizerConfig().set_module_name("1", None)
    q = PostTrainingQuantizer(model, config)
    found = q.compress()
    assert list(q.report()) == ["2.weight"]
    assert q.report().skipped.keys() == {"0.weight", "1.weight"}
    assert "0.weight, 1.weight" in q.report().skipped["0.weight"]
    assert same_bits(found[0].weight, model[0].weight)


def test_parameters_over_the_same_memory_are_each_quantized_from_their_own_values():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = nn.Parameter(model[0].weight.detach().t())
    expected = [compress(nn.Sequential(copy.deepcopy(layer)))[0].weight for layer in model]
    found = quantizer(model).compress(inplace=True)
    assert all(same_bits(found[i].weight, expected[i]) for i in (0, 1))


def test_computed_weights_are_skipped():
    layers = {
        "parametrize": torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        "prune": torch.nn.utils.prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
    }
    for layer in layers.values():
        model = nn.Sequential(layer, nn.Linear(4, 4))
        q = quantizer(model)
        with torch.no_grad():
            expected = model[0](torch.ones(4))
            found = q.compress(inplace=True)
            assert "remove its parametrization" in q.report().skipped["0.weight"]
            assert torch.equal(found[0](torch.ones(4)), expected)
        assert list(q.report()) == ["1.weight"]


# Compressing again


def test_compressing_a_compressed_model_changes_nothing():
    once = compress(nn.Sequential(nn.Linear(8, 4)))
    assert_skipped(once, "compressed already (quantization)", "0.weight", weight_dtype="int4")


def test_one_quantizer_starts_from_its_model_each_time():
    q = quantizer(nn.Linear(8, 4))
    first, second = q.compress().state_dict(), q.compress().state_dict()
    assert first.keys() == second.keys()
    assert all(same_bits(first[key], second[key]) for key in first)


def test_palettized_weight_is_skipped():
    layer = nn.Linear(8, 4)
    layer.register_buffer("_COREML_/weight/compression_type", torch.tensor([2]))
    assert_skipped(layer, "compressed already (palettization)")


# Attention


@pytest.mark.parametrize("sizes", [{}, {"kdim": 4, "vdim": 6}])
def test_attention_has_all_projections_and_nothing_else_quantized(sizes):
    model = nn.Sequential(nn.MultiheadAttention(8, 2, add_bias_kv=True, **sizes))
    q = quantizer(model)
    found = q.compress()
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"] if sizes else ["in_proj_weight"]
    assert list(q.report()) == [*(f"0.{name}" for name in names), "0.out_proj.weight"]
    for name, parameter in model.named_parameters():
        changed = not torch.equal(found.get_parameter(name), parameter)
        assert changed == (name in q.report())


def test_name_of_an_output_projection_finds_no_layer():
    model = nn.Sequential(nn.MultiheadAttention(8, 2))
    config = PostTrainingQuantizerConfig().set_module_name("0.out_proj", None)
    q = PostTrainingQuantizer(model, config)
    with pytest.warns(UserWarning, match=r"'0\.out_proj'\] .*; the nearest is '0'"):
        q.compress()
    assert "0.out_proj.weight" in q.report()


# The quantizer


def test_model_stays_as_it_is_unless_inplace():
    model = nn.Sequential(nn.Linear(8, 4)).train()
    before = copy.deepcopy(model.state_dict())
    found = compress(model)
    assert model.state_dict().keys() == before.keys()
    assert all(same_bits(model.state_dict()[key], before[key]) for key in before)
    assert found.training
    assert not compress(model.eval()).training


def test_report_is_empty_before_and_a_table_after():
    q = quantizer(nn.Sequential(nn.Linear(8, 4), nn.Embedding(4, 8), nn.BatchNorm1d(4)))
    assert repr(q.report()) == ""
    found = q.compress()
    (entry,) = q.report().values()
    difference = (found[0].weight - q._model[0].weight).double()
    assert entry["error"] == pytest.approx(difference.square().mean().sqrt().item())
    assert entry["#params"] == 32
    assert q.report().skipped == {"1.weight": "Embedding is not among the supported layers"}
    assert repr(q.report()).splitlines() == [
        "    name |   error | #params |      dtype",
        "-------- | ------- | ------- | ----------",
        f"0.weight | {entry['error']:.5f} |      32 | dtype=int8",
        "left as they were:",
        "  1.weight: Embedding is not among the supported layers",
    ]


def test_names_that_find_nothing_are_reported_with_the_nearest():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4))
    config = PostTrainingQuantizerConfig.from_dict(
        {
            "global_config": {},
            "module_name_configs": {"0": None, r"0\.\d": None},
            "module_type_configs": {"Linea": None, "Conv2d": None},
        }
    )
    q = PostTrainingQuantizer(model, config)
    with pytest.warns(UserWarning, match="the nearest is") as caught:
        q.compress()
    assert [str(warning.message) for warning in caught] == [
        "module_name_configs['0'] matches the whole name of no layer that is treated; "
        "the nearest is '0.0'",
        "module_type_configs['Linea'] is neither a known type nor the class of any module; "
        "the nearest is 'Linear'",
    ]
    assert list(q.report()) == ["1.weight"]


def test_model_without_layers_warns():
    with pytest.warns(UserWarning, match="no layer of the supported types"):
        PostTrainingQuantizer(nn.ReLU()).compress()


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="model must be"):
        PostTrainingQuantizer("model")
    with pytest.raises(TypeError, match="config must be a PostTrainingQuantizerConfig"):
        PostTrainingQuantizer(nn.ReLU(), {"global_config": None})
    with pytest.raises(TypeError, match="config must be a PostTrainingQuantizerConfig"):
        PostTrainingQuantizer(nn.ReLU(), ModulePostTrainingQuantizerConfig())


def test_supported_modules_are_listed():
    assert nn.ConvTranspose3d in PostTrainingQuantizer(nn.ReLU()).supported_modules
    assert nn.Embedding not in PostTrainingQuantizer(nn.ReLU()).supported_modules


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_is_kept_and_does_not_matter():
    layer = nn.Conv2d(4, 6, 3)
    on_cpu = compress(layer, weight_dtype="uint4").state_dict()
    on_gpu = compress(layer.cuda(), weight_dtype="uint4").state_dict()
    for key, tensor in on_cpu.items():
        assert on_gpu[key].is_cuda or key.endswith("metadata_version")
        assert np.array_equal(on_gpu[key].cpu().numpy(), tensor.numpy())
