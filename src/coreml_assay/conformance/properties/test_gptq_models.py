"""LayerwiseCompressor on models: configurations, layers, calibration, metadata, conversion."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance.layerwise_quantizing import (
    compress,
    expect_compressed,
    expect_converted,
    gptq,
    linear,
    namespace,
    random_data,
    random_weight,
    run,
    samples_of,
    zero_points,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import expect_left, expect_quantized, torch

TWO = "model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))"
DATA = "[torch.rand(3, 8) for _ in range(4)]"


def _module_config(subject: Subject, arguments: str) -> Any:
    subject.use_snippet(f"print(cto.torch.layerwise_compression.ModuleGPTQConfig({arguments}))\n")
    return eval(f"config({arguments})", {"config": namespace(subject).ModuleGPTQConfig})


@pytest.mark.clause("G.1")
def test_defaults(torch_subject: Subject) -> None:
    with torch_subject.recording():
        config = _module_config(torch_subject, "")
    found = (
        *(config.weight_n_bits, config.granularity.value, config.quantization_scheme.value),
        *(config.block_size, config.enable_normal_float, config.hessian_dampening),
        *(config.use_activation_order_heuristic, config.processing_group_size),
    )
    expected = (8, "per_channel", "symmetric", None, False, 0.01, False, 128)
    torch_subject.expect_equal(found, expected, "the defaults")


@pytest.mark.clause("G.2")
@pytest.mark.parametrize("dtype", ["uint4", "uint8", "int4", "int8", 4, 8], ids=str)
def test_code_types(torch_subject: Subject, dtype: Any) -> None:
    found = compress(torch_subject, TWO, gptq(weight_dtype=dtype), DATA)
    weight = expect_compressed(torch_subject, found, "0.weight")
    torch_subject.expect_equal(weight.n_bits, int(str(dtype)[-1]), "the number of bits")


@pytest.mark.clause("G.2")
def test_other_code_types_are_refused(torch_subject: Subject) -> None:
    errors = (TypeError, ValueError)
    torch_subject.expect_raises(
        errors, lambda: _module_config(torch_subject, "weight_dtype='int5'")
    )


@pytest.mark.clause("G.3")
def test_float32_leaves_the_bits(torch_subject: Subject) -> None:
    config = {
        **gptq(),
        "module_name_configs": {"0": {"algorithm": "gptq", "weight_dtype": "float32"}},
    }
    found = compress(torch_subject, TWO, config, DATA)
    expect_left(torch_subject, found, "0.weight")
    expect_quantized(torch_subject, found.weights, "2.weight")


@pytest.mark.clause("G.4")
def test_normal_float_with_8_bits_is_refused(torch_subject: Subject) -> None:
    torch_subject.expect_raises(
        ValueError, lambda: _module_config(torch_subject, "enable_normal_float=True")
    )


@pytest.mark.clause("G.4")
@pytest.mark.parametrize("dtype", ["uint3", "uint4", "int3", "int4"])
def test_normal_float(torch_subject: Subject, dtype: str) -> None:
    config = gptq(weight_dtype=dtype, enable_normal_float=True)
    found = compress(torch_subject, TWO, config, DATA)
    levels = max(len(np.unique(row)) for row in found.weights["0.weight"].values)
    codes = 2 ** int(dtype[-1])
    torch_subject.expect(
        levels <= codes, "a row has more values than codes", f"at most {codes}", levels
    )
    kinds = found.weights["0.weight"].compression_types
    torch_subject.expect_equal(kinds, (2,), "compression_type")


@pytest.mark.clause("G.14")
@pytest.mark.parametrize(
    ("layer", "shape", "block_size", "scale"),
    [
        ("Linear(16, 6)", (3, 16), 4, (6, 4)),
        ("Conv2d(8, 6, 3)", (2, 8, 5, 5), 4, (6, 2, 1, 1)),
        ("Conv2d(8, 6, 3)", (2, 8, 5, 5), None, (6, 1, 1, 1)),
    ],
    ids=str,
)
def test_shapes_of_scales(
    torch_subject: Subject, layer: str, shape: Any, block_size: int | None, scale: Any
) -> None:
    granularity = "per_block" if block_size else "per_channel"
    config = gptq(weight_dtype="uint4", granularity=granularity, block_size=block_size)
    source = f"model = torch.nn.Sequential(torch.nn.{layer})"
    found = compress(torch_subject, source, config, f"[torch.rand{shape} for _ in range(3)]")
    weight = expect_compressed(torch_subject, found, "0.weight")
    assert weight.scale is not None
    torch_subject.expect_equal(weight.scale.shape, scale, "the shape of the scale")


@pytest.mark.clause("G.15")
@pytest.mark.parametrize(
    ("layer", "shape"), [("Conv2d(6, 8, 2)", (2, 6, 5, 5)), ("Linear(6, 8)", (3, 6))], ids=str
)
def test_a_layer_whose_channels_a_block_does_not_divide_is_left(
    torch_subject: Subject, layer: str, shape: Any
) -> None:
    config = gptq(weight_dtype="uint4", granularity="per_block", block_size=4)
    source = f"model = torch.nn.Sequential(torch.nn.{layer})"
    found = compress(torch_subject, source, config, f"[torch.rand{shape} for _ in range(3)]")
    expect_left(torch_subject, found, "0.weight")


@pytest.mark.clause("G.17")
@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("layers", ["['2']", "['[2-9]']", "[model[2]]"])
def test_layers_by_name_pattern_and_object(
    torch_subject: Subject, layers: str, inplace: bool
) -> None:
    config = (
        "compression.LayerwiseCompressorConfig("
        f"layers={layers}, global_config=compression.ModuleGPTQConfig())"
    )
    found = run(torch_subject, TWO, config, DATA, f", device='cpu', inplace={inplace}")
    expect_quantized(torch_subject, found.weights, "2.weight")


MASKED = """
class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.seen = []

    def forward(self, x, mask=None):
        self.seen.append(float(mask.sum()))
        return (self.fc(x * mask),)

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x):
        return self.block(x, mask=torch.full((2, 4), float(x[0, 0])))[0]

model = Model()
"""


@pytest.mark.clause("G.18")
def test_the_gpt_cacher_keeps_each_samples_arguments(torch_subject: Subject) -> None:
    config = {**gptq(weight_dtype="uint8"), "input_cacher": "gpt", "layers": ["block"]}
    data = "[torch.full((2, 4), float(i)) + torch.eye(4)[:2] for i in range(3)]"
    found = compress(torch_subject, MASKED, config, data)
    seen = found.model.block.seen[:3]
    torch_subject.expect_equal(seen, [8.0, 16.0, 24.0], "the sums of masks the layer sees")


@pytest.mark.clause("G.19")
def test_the_device_is_the_models_own_by_default(torch_subject: Subject) -> None:
    found = compress(torch_subject, TWO, gptq(weight_dtype="uint4"), DATA, arguments="")
    expect_quantized(torch_subject, found.weights, "0.weight", "2.weight")


@pytest.mark.clause("G.20")
@pytest.mark.parametrize("mode", [True, False])
def test_the_training_mode_comes_back(torch_subject: Subject, mode: bool) -> None:
    found = compress(torch_subject, f"{TWO}.train({mode})", gptq(), DATA)
    torch_subject.expect_equal(found.model.training, mode, "the training mode")


@pytest.mark.clause("G.21")
def test_the_report_has_an_entry_for_each_weight(torch_subject: Subject) -> None:
    found = compress(torch_subject, TWO, gptq(weight_dtype="uint4"), DATA)
    torch_subject.expect_equal(sorted(found.report), ["0.weight", "2.weight"], "the report's keys")
    torch_subject.expect_equal(found.report["0.weight"]["#params"], 64, "#params")


@pytest.mark.clause("G.22")
def test_metadata(torch_subject: Subject) -> None:
    found = compress(torch_subject, TWO, gptq(weight_dtype="uint4"), DATA)
    weight = expect_compressed(torch_subject, found, "0.weight")
    version = found.model.state_dict().get("_COREML_/metadata_version")
    torch_subject.expect_equal(version is not None and int(version), 1, "metadata_version")
    torch_subject.expect_equal((weight.n_bits, weight.compression_types), (4, (3,)), "metadata")
    torch_subject.expect_equal(
        sorted(set(zero_points(weight).ravel().tolist())),
        [8],
        "the symmetric zero point",
    )


@pytest.mark.clause("G.22")
@pytest.mark.parametrize(
    ("dtype", "scheme", "block_size", "target"),
    [
        ("uint8", "symmetric", None, "iOS17"),
        ("uint8", "affine", None, "iOS17"),
        ("uint4", "symmetric", 4, "iOS18"),
        ("uint4", "affine", 4, "iOS18"),
        ("uint8", "affine", 4, "iOS18"),
    ],
)
def test_conversion_holds_exactly_the_weights(
    torch_subject: Subject, dtype: str, scheme: str, block_size: int | None, target: str
) -> None:
    config = gptq(
        weight_dtype=dtype,
        quantization_scheme=scheme,
        granularity="per_block" if block_size else "per_channel",
        block_size=block_size,
    )
    data = samples_of(random_data(20, 8))
    found = compress(torch_subject, linear(random_weight(6, 8)), config, data)
    expect_converted(torch_subject, found, (1, 8), target)


@pytest.mark.clause("G.4", "G.22")
def test_conversion_of_normal_float(torch_subject: Subject) -> None:
    config = gptq(weight_dtype="uint4", enable_normal_float=True)
    data = samples_of(random_data(20, 8))
    found = compress(torch_subject, linear(random_weight(6, 8)), config, data)
    expect_converted(torch_subject, found, (1, 8), "iOS18")


@pytest.mark.clause("G.23")
def test_no_sample_at_all_is_an_error(torch_subject: Subject) -> None:
    compression = namespace(torch_subject)
    torch_subject.use_snippet(
        f"import torch\n{TWO}\ncompression = cto.torch.layerwise_compression\n"
        "config = compression.LayerwiseCompressorConfig.from_dict({'global_config': "
        "{'algorithm': 'gptq'}})\n"
        "compression.LayerwiseCompressor(model, config).compress([], device='cpu')\n"
    )
    config = compression.LayerwiseCompressorConfig.from_dict(gptq())
    model = torch.nn.Sequential(torch.nn.Linear(8, 8))
    compressor = compression.LayerwiseCompressor(model, config)
    torch_subject.expect_raises(
        ValueError, lambda: compressor.compress([], device="cpu"), saying="sample"
    )


@pytest.mark.clause("G.23")
def test_a_sample_with_nan_is_an_error_that_names_the_layer(torch_subject: Subject) -> None:
    compression = namespace(torch_subject)
    torch_subject.use_snippet(
        f"import torch\n{TWO}\ncompression = cto.torch.layerwise_compression\n"
        "config = compression.LayerwiseCompressorConfig.from_dict({'global_config': "
        "{'algorithm': 'gptq'}})\n"
        "data = [torch.full((2, 8), torch.nan)]\n"
        "compression.LayerwiseCompressor(model, config).compress(data, device='cpu')\n"
    )
    config = compression.LayerwiseCompressorConfig.from_dict(gptq())
    model = torch.nn.Sequential(torch.nn.Linear(8, 8))
    compressor = compression.LayerwiseCompressor(model, config)
    data = [torch.full((2, 8), float("nan"))]
    torch_subject.expect_raises(
        ValueError, lambda: compressor.compress(data, device="cpu"), saying="0.weight"
    )


@pytest.mark.clause("G.24")
def test_without_any_entry_layers_get_the_defaults(torch_subject: Subject) -> None:
    found = compress(torch_subject, TWO, {}, DATA)
    expect_quantized(torch_subject, found.weights, "0.weight", "2.weight")


@pytest.mark.clause("G.24")
def test_gptq_is_the_algorithm_that_an_entry_without_one_means(torch_subject: Subject) -> None:
    found = compress(torch_subject, TWO, {"global_config": {"weight_dtype": "uint4"}}, DATA)
    expect_quantized(torch_subject, found.weights, "0.weight", "2.weight")


@pytest.mark.clause("G.25")
def test_both_import_paths_of_the_page(torch_subject: Subject) -> None:
    compression = namespace(torch_subject)
    torch_subject.use_snippet("print(cto.torch.quantization.LayerwiseCompressor)\n")
    found = getattr(torch_subject.torch.quantization, "LayerwiseCompressor", None)
    torch_subject.expect(
        found is compression.LayerwiseCompressor,
        "quantization has no LayerwiseCompressor",
        compression.LayerwiseCompressor,
        found,
    )


@pytest.mark.clause("G.26")
def test_compressing_twice_changes_nothing(torch_subject: Subject) -> None:
    once = compress(torch_subject, TWO, gptq(weight_dtype="uint4"), DATA)
    compression = namespace(torch_subject)
    config = compression.LayerwiseCompressorConfig.from_dict(gptq(weight_dtype="uint4"))
    data = [torch.rand(3, 8)]
    torch_subject.extend_snippet("# and the same again, on found\n")
    with torch_subject.recording(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twice = compression.LayerwiseCompressor(once.model, config).compress(data, device="cpu")
    kind = twice.state_dict()["0._COREML_/weight/compression_type"].tolist()
    torch_subject.expect_equal(kind, [3], "compression_type")


@pytest.mark.clause("G.27")
def test_per_block_without_a_block_size_is_per_channel(torch_subject: Subject) -> None:
    config = gptq(weight_dtype="uint4", granularity="per_block")
    found = compress(torch_subject, TWO, config, DATA)
    weight = expect_compressed(torch_subject, found, "0.weight")
    assert weight.scale is not None
    torch_subject.expect_equal(weight.scale.shape, (8, 1), "the shape of the scale")


@pytest.mark.clause("G.27")
def test_a_block_size_cuts_channels_whatever_the_granularity(torch_subject: Subject) -> None:
    config = gptq(weight_dtype="uint4", granularity="per_channel", block_size=2)
    found = compress(torch_subject, TWO, config, DATA)
    weight = expect_compressed(torch_subject, found, "0.weight")
    assert weight.scale is not None
    torch_subject.expect_equal(weight.scale.shape, (8, 4), "the shape of the scale")
