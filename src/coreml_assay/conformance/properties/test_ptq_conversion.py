"""Conversion of compressed PyTorch models: the program's weights are the model's, bit for bit."""

from __future__ import annotations

import warnings
from typing import Any

import coremltools as ct
import numpy as np
import pytest

from coreml_assay.conformance.strategies import GRIDS, grid_id
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import (
    Compressed,
    codes_of,
    compress,
    compress_twice,
    everywhere,
    torch,
)
from coreml_assay.mil.samples import TARGETS
from coreml_assay.mil.stored import StoredWeight, stored_weights
from coreml_assay.numerics import Grid

ATTENTION = """
class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]

model = Attention()
"""
MODELS = {  # source, shape of the input
    "Linear": ("model = torch.nn.Linear(8, 6)", (1, 8)),
    "Conv1d": ("model = torch.nn.Conv1d(4, 6, 3)", (1, 4, 7)),
    "Conv2d": ("model = torch.nn.Conv2d(4, 6, 3)", (1, 4, 5, 5)),
    "Conv3d": ("model = torch.nn.Conv3d(4, 6, 2)", (1, 4, 4, 4, 4)),
    "ConvTranspose1d": ("model = torch.nn.ConvTranspose1d(4, 6, 3)", (1, 4, 7)),
    "ConvTranspose2d": ("model = torch.nn.ConvTranspose2d(4, 6, 3)", (1, 4, 5, 5)),
    "ConvTranspose3d": ("model = torch.nn.ConvTranspose3d(4, 6, 2)", (1, 4, 4, 4, 4)),
    "MultiheadAttention": (ATTENTION, (3, 1, 8)),
}


@pytest.mark.clause("T.23")
@pytest.mark.parametrize("kind", MODELS)
def test_each_kind_of_layer_converts_exactly(torch_subject: Subject, kind: str) -> None:
    source, shape = MODELS[kind]
    found = compress(torch_subject, source, everywhere(weight_dtype="uint8"))
    _expect_exact(torch_subject, found, _convert(torch_subject, found, shape, "iOS18"))


SEVERAL = (
    "model = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3), torch.nn.ReLU(), "
    "torch.nn.ConvTranspose2d(6, 6, 3), torch.nn.Flatten(2), torch.nn.Linear(25, 4))"
)


@pytest.mark.clause("T.23")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_blocks_of_all_codes_convert_exactly(torch_subject: Subject, grid: Grid) -> None:
    config = {
        "global_config": {
            **codes_of(grid),
            "granularity": "per_block",
            "block_size": 2,
        },
        "module_type_configs": {"Linear": {**codes_of(grid), "granularity": "per_tensor"}},
    }
    found = compress(torch_subject, SEVERAL, config)
    _expect_exact(torch_subject, found, _convert(torch_subject, found, (1, 4, 5, 5), "iOS18"))


@pytest.mark.clause("T.23")
@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.bits == 8], ids=grid_id)
def test_8_bit_codes_convert_exactly_before_ios18(torch_subject: Subject, grid: Grid) -> None:
    found = compress(torch_subject, SEVERAL, everywhere(**codes_of(grid)))
    _expect_exact(torch_subject, found, _convert(torch_subject, found, (1, 4, 5, 5), "iOS17"))


@pytest.mark.clause("T.23")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_a_channel_of_zeros_converts_exactly(torch_subject: Subject, grid: Grid) -> None:
    source = "model = torch.nn.Linear(8, 4)\nmodel.weight.data[1] = 0"
    found = compress(torch_subject, source, everywhere(**codes_of(grid)))
    _expect_exact(torch_subject, found, _convert(torch_subject, found, (1, 8), "iOS18"))


@pytest.mark.clause("T.23", "T.27")
def test_a_model_compressed_twice_converts_exactly(torch_subject: Subject) -> None:
    source = "model = torch.nn.Linear(8, 4)"
    _, found = compress_twice(torch_subject, source, everywhere())
    _expect_exact(torch_subject, found, _convert(torch_subject, found, (1, 8), "iOS18"))


TIED = """
class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)
        self.head = torch.nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.embedding(tokens))

model = Tied()
"""


@pytest.mark.clause("T.23", "T.28")
def test_a_layer_tied_to_an_embedding_is_converted_compressed(torch_subject: Subject) -> None:
    found = compress(torch_subject, TIED)
    converted = _convert(torch_subject, found, (1, 3), "iOS18", dtype="int32")
    torch_subject.expect_equal(
        sorted(found.weights), ["embedding.weight", "head.weight"], "the names of the weights"
    )
    shapes = [weight.values.shape for weight in converted.values() if weight.is_quantized]
    torch_subject.expect_equal(shapes, [(10, 4)], "the shapes of compressed weights")
    expected = found.weights["head.weight"].values
    (weight,) = [weight for weight in converted.values() if weight.is_quantized]
    torch_subject.expect_equal(weight.values, expected, "the weight in the program")


def _convert(
    subject: Subject,
    compressed: Compressed,
    shape: tuple[int, ...],
    target: str,
    dtype: str = "float32",
) -> dict[str, StoredWeight]:
    """The weights of the converted model, by name."""
    subject.extend_snippet(
        "import coremltools as ct\n"
        f"x = torch.zeros({shape}, dtype=torch.{dtype})\n"
        "print(ct.convert(torch.jit.trace(model.eval(), x),\n"
        f"    inputs=[ct.TensorType(shape={shape}, dtype=np.{dtype})],\n"
        f"    minimum_deployment_target=ct.target.{target}, convert_to='milinternal',\n"
        "    compute_precision=ct.precision.FLOAT32))\n"
    )
    x = torch.zeros(shape, dtype=getattr(torch, dtype))
    with subject.recording(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's tracer and coremltools warn about each other
        program: Any = ct.convert(
            torch.jit.trace(compressed.model.eval(), x),
            inputs=[ct.TensorType(shape=shape, dtype=np.dtype(dtype).type)],
            minimum_deployment_target=TARGETS[target],
            convert_to="milinternal",
            compute_precision=ct.precision.FLOAT32,
        )
        return stored_weights(program)


def _expect_exact(
    subject: Subject, compressed: Compressed, converted: dict[str, StoredWeight]
) -> None:
    """Fail unless every quantized weight is in the program, as codes that stand for its bits."""
    names = sorted(name for name, weight in compressed.weights.items() if weight.is_quantized)
    found = sorted(name for name, weight in converted.items() if weight.is_quantized)
    subject.expect_equal(found, names, "the list of compressed weights in the program")
    for name in names:
        subject.expect_equal(
            converted[name].values, compressed.weights[name].values, f"{name} in the program"
        )
