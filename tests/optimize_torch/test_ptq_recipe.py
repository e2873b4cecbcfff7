"""The documentation's recipe for data-free quantization, as it is written there."""

import torch
from ptq_helpers import same_bits

from coreml_assay.optimize.torch.quantization import (
    PostTrainingQuantizer,
    PostTrainingQuantizerConfig,
)


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 256, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(256, 16, 3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 10),
    )


def test_recipe_quantizes_the_convolution_that_blocks_fit_and_names_the_rest():
    model = make_model()

    config = PostTrainingQuantizerConfig.from_dict(
        {
            "global_config": {
                "weight_dtype": "int8",
                "granularity": "per_block",
                "block_size": 128,
            },
            "module_type_configs": {torch.nn.Linear: None},
        }
    )
    quantizer = PostTrainingQuantizer(model, config)
    quantized_model = quantizer.compress()

    report = quantizer.report()
    assert list(report) == ["2.weight"]
    assert set(report.skipped) == {"0.weight", "5.weight"}
    assert "3 input channels" in report.skipped["0.weight"]
    assert "does not select" in report.skipped["5.weight"]
    scale = quantized_model.state_dict()["2._COREML_/weight/quantization_scale"]
    assert scale.shape == (16, 2, 1, 1)
    assert not torch.equal(quantized_model[2].weight, model[2].weight)
    for untouched in ("0.weight", "0.bias", "2.bias", "5.weight", "5.bias"):
        assert same_bits(quantized_model.state_dict()[untouched], model.state_dict()[untouched])


def test_quantized_weights_are_within_half_a_step():
    model = make_model()
    quantized = PostTrainingQuantizer(model).compress()
    for index in (0, 2, 5):
        scale = quantized.state_dict()[f"{index}._COREML_/weight/quantization_scale"]
        change = (quantized[index].weight - model[index].weight).abs()
        assert (change <= scale * 0.5001).all()
