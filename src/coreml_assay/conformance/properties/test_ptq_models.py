"""Compressing a PyTorch model: copies, shared weights, metadata, and the report."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.conformance.strategies import GRIDS, grid_id
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import (
    build,
    codes_of,
    compress,
    compress_twice,
    everywhere,
    expect_quantized,
)
from coreml_assay.implementations.torch_models import LAYERS, TorchWeight, torch_weights
from coreml_assay.numerics import Grid

TWO_LINEARS = "model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))\n"


@pytest.mark.clause("T.22")
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_a_copy_is_changed_unless_inplace(torch_subject: Subject, inplace: bool, mode: str) -> None:
    source = f"{TWO_LINEARS}model.{mode}()"
    found = compress(torch_subject, source, inplace=inplace)
    expect_quantized(torch_subject, found.weights, "0.weight", "1.weight")
    torch_subject.expect_equal(found.model is found.given, inplace, "whether the model is returned")
    torch_subject.expect_equal(found.model.training, mode == "train", "whether it is in training")
    if not inplace:
        _expect_same(torch_subject, torch_weights(found.given), found.before, "the model given")


def _expect_same(
    subject: Subject, found: dict[str, TorchWeight], expected: dict[str, TorchWeight], what: str
) -> None:
    subject.expect_equal(sorted(found), sorted(expected), f"the names of parameters of {what}")
    for name, weight in expected.items():
        subject.expect_equal(
            found[name].compression_types, weight.compression_types, f"{name}'s compression types"
        )
        subject.expect_equal(found[name].values, weight.values, f"{name} of {what}")


_PER_BLOCK = {"quantization_scale": "torch.float32", "zero_point": "torch.uint8"}


@pytest.mark.clause("T.25")
@pytest.mark.parametrize("kind", LAYERS)
def test_buffers_belong_to_the_weights_module(torch_subject: Subject, kind: str) -> None:
    layer = LAYERS[kind]
    config = everywhere(weight_dtype="uint4")
    found = compress(torch_subject, f"model = torch.nn.Sequential({layer.source})", config)
    buffers = dict(found.model.named_buffers())
    for parameter in layer.weights:
        owner, _, name = f"0.{parameter}".rpartition(".")
        for field in ("quantization_n_bits", "quantization_scale", "zero_point"):
            key = f"{owner}._COREML_/{name}/{field}"
            torch_subject.expect_equal(key in buffers, True, f"whether there is a buffer {key}")
        rank = found.model.get_parameter(f"0.{parameter}").ndim
        for field, dtype in _PER_BLOCK.items():
            buffer = buffers[f"{owner}._COREML_/{name}/{field}"]
            shown = buffer.ndim, str(buffer.dtype)
            torch_subject.expect_equal(shown, (rank, dtype), f"rank and dtype of {field}")
        weight = found.weights[f"0.{parameter}"]
        torch_subject.expect_equal(weight.n_bits, 4, "quantization_n_bits")
        torch_subject.expect_equal(weight.compression_types, (3,), "compression_type")


@pytest.mark.clause("T.26")
def test_the_root_has_the_version_of_the_metadata(torch_subject: Subject) -> None:
    found = compress(torch_subject, TWO_LINEARS)
    version = found.model.state_dict().get("_COREML_/metadata_version")
    torch_subject.expect_equal(
        None if version is None else int(version), 1, "_COREML_/metadata_version"
    )


@pytest.mark.clause("T.24")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_the_report_names_the_code_type(torch_subject: Subject, grid: Grid) -> None:
    found = compress(torch_subject, TWO_LINEARS, everywhere(**codes_of(grid))).report
    for name in ("0.weight", "1.weight"):
        dtype = found.get(name, {}).get("dtype")
        torch_subject.expect_equal(dtype, f"dtype={grid.name}", f"the code type of {name}")


@pytest.mark.clause("T.24")
@pytest.mark.parametrize("kind", LAYERS)
def test_the_report_has_an_entry_for_each_quantized_weight(
    torch_subject: Subject, kind: str
) -> None:
    layer = LAYERS[kind]
    found = compress(torch_subject, f"model = {layer.source}", everywhere(weight_dtype="int4"))
    torch_subject.expect_equal(
        sorted(found.report), sorted(layer.weights), "what it has entries of"
    )
    for name, entry in found.report.items():
        before = found.before[name].values.astype(np.float64)
        change = found.weights[name].values - before
        error = float(np.sqrt(np.square(change).mean()))
        torch_subject.expect_equal(entry["#params"], before.size, f"#params of {name}")
        torch_subject.expect(
            # Two float32 sums of a few hundred squares, in some order.
            abs(entry["error"] - error) <= 1e-5 * error,
            f"the error of {name} is not its root-mean-square change",
            error,
            entry["error"],
        )


@pytest.mark.clause("T.24")
def test_the_report_is_empty_before(torch_subject: Subject) -> None:
    torch_subject.use_snippet(
        "import torch\n"
        "quantizer = cto.torch.quantization.PostTrainingQuantizer(torch.nn.Linear(8, 6))\n"
        "print(dict(quantizer.report()))\n"
    )
    model = build("model = torch.nn.Linear(8, 6)")
    with torch_subject.recording():
        found = dict(torch_subject.torch.quantization.PostTrainingQuantizer(model).report())
    torch_subject.expect_equal(found, {}, "the report before compress")


@pytest.mark.clause("T.27")
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_compressing_twice_changes_nothing(torch_subject: Subject, dtype: str) -> None:
    once, twice = compress_twice(torch_subject, TWO_LINEARS, everywhere(weight_dtype=dtype))
    _expect_same(torch_subject, twice.weights, once.weights, "the model after two rounds")


SHARED = {
    "layer": "shared = torch.nn.Linear(8, 8)\nmodel = torch.nn.ModuleList([shared, shared])",
    "nested_layer": (
        "shared = torch.nn.Linear(8, 8)\n"
        "model = torch.nn.ModuleList([torch.nn.Sequential(shared) for _ in range(2)])"
    ),
    "weight": f"{TWO_LINEARS}model[1].weight = model[0].weight",
}


@pytest.mark.clause("T.28")
@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_shared_weights_are_quantized_once(torch_subject: Subject, kind: str, scheme: str) -> None:
    config = everywhere(weight_dtype="int4", quantization_scheme=scheme)
    alone = compress(torch_subject, "model = torch.nn.Linear(8, 8)", config).weights["weight"]
    found = compress(torch_subject, SHARED[kind], config)
    parameters = [p for p in found.model.parameters() if p.ndim == 2]
    torch_subject.expect_equal(len(parameters), 1, "the number of weights")
    for name, weight in found.weights.items():
        if name.endswith("weight"):
            torch_subject.expect_equal(weight.compression_types, (3,), f"what was done to {name}")
            torch_subject.expect_equal(weight.values, alone.values, name)


@pytest.mark.clause("T.32")
def test_weights_over_the_same_memory(torch_subject: Subject) -> None:
    source = f"{TWO_LINEARS}model[1].weight = torch.nn.Parameter(model[0].weight.detach().t())"
    alone = compress(torch_subject, source)
    found = compress(torch_subject, source, inplace=True)
    _expect_same(torch_subject, found.weights, alone.weights, "the model changed in place")
