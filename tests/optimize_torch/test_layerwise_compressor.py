"""LayerwiseCompressor: what it selects, feeds, refuses and says."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from coreml_assay.optimize.torch.layerwise_compression import (
    FirstLayerInputCacher,
    LayerwiseCompressionAlgorithm,
    LayerwiseCompressionAlgorithmConfig,
    LayerwiseCompressor,
    LayerwiseCompressorConfig,
    ModuleGPTQConfig,
)
from coreml_assay.optimize.torch.layerwise_compression._columns import input_columns

SCALE = "_COREML_/weight/quantization_scale"


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


def samples(count=4, shape=(3, 8)):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def compress(model, data=None, entry=None, inplace=False, **options):
    config = {"global_config": {"algorithm": "gptq", "weight_dtype": 4, **(entry or {})}, **options}
    compressor = LayerwiseCompressor(model, LayerwiseCompressorConfig.from_dict(config))
    return compressor.compress(samples() if data is None else data, inplace=inplace), compressor


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (2, 3, 5, 4)),
        (nn.Linear(4, 3), (4,)),
        (nn.Conv1d(8, 8, 3, padding="same"), (8, 9)),
        (nn.Conv1d(6, 6, 3, padding=2, padding_mode="circular", groups=6), (2, 6, 9)),
        (
            nn.Conv2d(
                *(8, 6, 3), padding=1, padding_mode="reflect", dilation=(2, 1), stride=2, groups=2
            ),
            (2, 8, 9, 9),
        ),
        (nn.Conv3d(4, 8, (2, 1, 3), padding_mode="replicate", padding=1), (2, 4, 5, 5, 5)),
    ],
    ids=str,
)
def test_columns_times_the_weight_are_what_the_layer_computes(layer, shape):
    layer.bias.data.zero_()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    columns = input_columns(layer, x)
    weight = layer.weight.flatten(1).unflatten(0, (len(columns), -1))
    found = torch.einsum("gtc,grc->tgr", columns, weight).flatten(1)
    expected = layer(x)
    if not isinstance(layer, nn.Linear):
        expected = (expected if expected.ndim == layer.weight.ndim else expected[None]).movedim(
            1, -1
        )
    # Sums of up to 72 products of about 1, in another order.
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("by", ["name", "pattern", "object"])
def test_layers_are_chosen_by_name_pattern_or_object(by, inplace):
    model = two_layers()
    chosen = {"name": "2", "pattern": "[2-9]", "object": model[2]}[by]
    found, compressor = compress(model, inplace=inplace, layers=[chosen])
    assert list(compressor.report()) == ["2.weight"]
    assert hasattr(found[2], SCALE)
    assert "none of the configured layers" in compressor.report().skipped["0.weight"]
    assert (found is model) is inplace


def test_models_of_any_shape_get_each_layers_own_inputs():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.second(x + self.first(x))

    torch.manual_seed(0)
    _, compressor = compress(Residual())
    assert list(compressor.report()) == ["second.weight", "first.weight"]


def test_the_gpt_cacher_keeps_each_samples_keyword_arguments():
    seen = []

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, mask=None):
            seen.append(float(mask.sum()))
            return (self.fc(x * mask),)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(), Block()])

        def forward(self, x, mask):
            for block in self.blocks:
                x = block(x, mask=mask)[0]
            return x

    torch.manual_seed(0)
    data = [{"x": torch.randn(2, 4), "mask": torch.ones(2, 4) * (i + 1)} for i in range(3)]
    _, compressor = compress(Model(), data, input_cacher="gpt", layers=["blocks.0", "blocks.1"])
    assert seen == [8.0, 16.0, 24.0] * 4
    assert len(compressor.report()) == 2


def test_training_mode_comes_back_module_by_module():
    model = two_layers()
    model[2].eval()
    compress(model, inplace=True)
    assert [model.training, model[0].training, model[2].training] == [True, True, False]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no calibration sample"),
        (
            [torch.ones(2, 8), torch.full((2, 8), torch.nan)],
            r"0\.weight: calibration sample 1 .*NaN",
        ),
        ([torch.full((2, 8), torch.inf)], r"0\.weight: calibration sample 0 .*infinities"),
    ],
    ids=["empty", "nan", "inf"],
)
def test_unusable_calibration_data_is_an_error_that_says_where(data, message):
    with pytest.raises(ValueError, match=message):
        compress(two_layers(), data)


def test_a_layer_that_no_sample_reaches_is_an_error():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(ValueError, match=r"idle\.weight: no calibration sample reached"):
        compress(Half())


def test_what_is_not_compressed_keeps_its_bits_and_is_named(caplog):
    model = two_layers()
    config = {"0": {"weight_dtype": "float32"}, "2": {"block_size": 3, "granularity": "per_block"}}
    with caplog.at_level(logging.INFO), pytest.warns(UserWarning, match="nothing was compressed"):
        found, compressor = compress(model, module_name_configs=config)
    assert set(compressor.report().skipped) == {"0.weight", "2.weight"}
    assert "does not divide" in compressor.report().skipped["2.weight"]
    for index in (0, 2):
        assert torch.equal(found[index].weight, model[index].weight)
    assert "2.weight is left" in caplog.text


def test_compressing_twice_changes_nothing():
    once, _ = compress(two_layers())
    with pytest.warns(UserWarning, match="compressed already"):
        twice, _ = compress(once)
    for key, value in once.state_dict().items():
        assert torch.equal(twice.state_dict()[key], value)


def test_a_shared_weight_is_compressed_once_and_stays_shared():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    found, compressor = compress(model)
    assert found[0].weight is found[1].weight
    assert list(compressor.report()) == ["0.weight", "1.weight"]
    assert getattr(found[1], SCALE) is getattr(found[0], SCALE)


def test_own_algorithms_and_cachers_can_be_registered():
    import attrs

    @LayerwiseCompressionAlgorithmConfig.register("halve")
    @attrs.define
    class HalveConfig(LayerwiseCompressionAlgorithmConfig):
        algorithm: str = "halve"

    @LayerwiseCompressionAlgorithm.register("halve")
    class Halve(LayerwiseCompressionAlgorithm):
        def __init__(self, layer, config):
            self.layer = layer

        def add_batch(self, inp, out):
            pass

        def compress(self):
            self.layer.weight.data = self.layer.weight.data / 2

        def cleanup(self):
            pass

    @FirstLayerInputCacher.register("first")
    class First(FirstLayerInputCacher.get_class("default")):
        def cache(self, dataloader, nsamples, device):
            return super().cache(dataloader, 1, device)

    model = two_layers()
    config = {"global_config": {"algorithm": "halve"}, "input_cacher": "first"}
    found = LayerwiseCompressor(model, LayerwiseCompressorConfig.from_dict(config)).compress(
        samples()
    )
    assert torch.equal(found[2].weight, model[2].weight / 2)
    for registry, name in (
        (LayerwiseCompressionAlgorithm, "halve"),
        (FirstLayerInputCacher, "first"),
    ):
        with pytest.raises(NotImplementedError, match=f"did you mean '{name}'"):
            registry.get_class(name + "x")


@pytest.mark.parametrize("dtype", [3, 4, 8, "int3", "int4", "int8", "uint3", "uint4", "uint8"])
def test_configurations_come_back_from_their_dictionaries(dtype):
    config = LayerwiseCompressorConfig(global_config=ModuleGPTQConfig(weight_dtype=dtype))
    assert LayerwiseCompressorConfig.from_dict(config.as_dict()) == config
    assert config.global_config.weight_n_bits == int(str(dtype)[-1])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"weight_dtype": 5}, ValueError),
        ({"weight_dtype": "int2"}, ValueError),
        ({"enable_normal_float": True}, ValueError),
        ({"block_size": 0}, ValueError),
        ({"block_size": 2.0}, TypeError),
        ({"processing_group_size": 0}, ValueError),
        ({"hessian_dampening": -1.0}, ValueError),
        ({"hessian_dampening": float("nan")}, ValueError),
        ({"static_scales": 1}, TypeError),
        ({"granularity": "per_row"}, ValueError),
    ],
    ids=str,
)
def test_wrong_options_are_errors_at_once(options, error):
    with pytest.raises(error):
        ModuleGPTQConfig(**options)


def test_contradicting_granularity_and_block_size_warn():
    with pytest.warns(UserWarning, match="taken as per_channel"):
        ModuleGPTQConfig(granularity="per_block")
    with pytest.warns(UserWarning, match="taken as per_block"):
        ModuleGPTQConfig(block_size=4)


def test_no_entry_at_all_means_the_defaults():
    assert LayerwiseCompressorConfig().global_config == ModuleGPTQConfig()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_keep_theirs_and_stand_for_their_codes(dtype):
    model = two_layers().to(dtype)
    found, _ = compress(model, [x.to(dtype) for x in samples()])
    weight, scale = found[0].weight, getattr(found[0], SCALE)
    assert weight.dtype is dtype
    steps = (weight.double() / scale.double()).detach().numpy()
    assert np.abs(steps - steps.round()).max() < 0.1
