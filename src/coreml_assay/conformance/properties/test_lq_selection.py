"""Which layers LinearQuantizer quantizes, and where it puts fake quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance.linear_quantizing import Prepared, prepare, row, with_options
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import Config, build, torch
from coreml_assay.implementations.linear_quantizing import Calibrated, layer_weights, placement

# Source of a sequence whose layer 0 is fused with what follows, and the input's shape.
FUSIONS = {
    "conv": ("Conv2d(3, 4, 3)", "", (1, 3, 5, 5)),
    "conv-relu": ("Conv2d(3, 4, 3)", "ReLU()", (1, 3, 5, 5)),
    "conv-bn": ("Conv2d(3, 4, 3)", "BatchNorm2d(4)", (1, 3, 5, 5)),
    "conv-bn-relu": ("Conv2d(3, 4, 3)", "BatchNorm2d(4), ReLU()", (1, 3, 5, 5)),
    "conv-relu6": ("Conv2d(3, 4, 3)", "ReLU6()", (1, 3, 5, 5)),
    "conv-bn-relu6": ("Conv2d(3, 4, 3)", "BatchNorm2d(4), ReLU6()", (1, 3, 5, 5)),
    "conv1d-relu6": ("Conv1d(3, 4, 3)", "ReLU6()", (1, 3, 5)),
    "linear": ("Linear(3, 4)", "", (2, 3)),
    "linear-relu": ("Linear(3, 4)", "ReLU()", (2, 3)),
    "linear-bn": ("Linear(3, 4)", "BatchNorm1d(4)", (2, 3)),
    "linear-gelu": ("Linear(3, 4)", "GELU()", (2, 3)),
    "transposed": ("ConvTranspose2d(3, 4, 3)", "", (1, 3, 5, 5)),
    "transposed-relu": ("ConvTranspose2d(3, 4, 3)", "ReLU()", (1, 3, 5, 5)),
    "transposed-bn-relu": ("ConvTranspose2d(3, 4, 3)", "BatchNorm2d(4), ReLU()", (1, 3, 5, 5)),
}
FOUR_BITS = {"weight_dtype": "qint4"}


@pytest.mark.clause("L.9")
@pytest.mark.parametrize("entry", [FOUR_BITS, None], ids=["4-bit", "none"])
@pytest.mark.parametrize("place", ["type", "name"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_entries_hold_under_fusion(
    torch_subject: Subject, kind: str, place: str, entry: Mapping[str, Any] | None
) -> None:
    layer, following, shape = FUSIONS[kind]
    parts = ", ".join(f"torch.nn.{part}" for part in (layer, *following.split(", ")) if part)
    parts = parts.replace(", torch.nn.4", ", 4").replace(", torch.nn.3", ", 3")
    key = layer.split("(")[0] if place == "type" else "0"
    config = {"global_config": {}, f"module_{place}_configs": {key: entry}}
    found = prepare(torch_subject, f"model = torch.nn.Sequential({parts})", config, shape)
    found.run(np.linspace(-2, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape))
    _expect_widths(found, {} if entry is None else {"0": 4})
    if entry is None:
        around = [line for line in placement(found.model) if line.startswith("quantize")]
        torch_subject.expect_equal(around, [], "the fake quantizers around the skipped layer")


def _expect_widths(found: Prepared, expected: dict[str, int]) -> None:
    finalized = found.finalize()
    weights = layer_weights(Calibrated(found.quantizer, found.model, finalized))
    widths = {name: weight.n_bits for name, weight in weights.items()}
    found.subject.expect_equal(widths, expected, "the width of each quantized layer's codes")


THREE = (
    "model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4), "
    "torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))"
)


@pytest.mark.clause("L.9")
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"module_type_configs": {"Linear": None}}, {}),
        ({"module_type_configs": {"Linear": FOUR_BITS}}, {"0": 4, "2": 4, "4": 4}),
        ({"module_name_configs": {"2": None}}, {"0": 8, "4": 8}),
        (
            {"module_type_configs": {"Linear": None}, "module_name_configs": {"2": FOUR_BITS}},
            {"2": 4},
        ),
        (
            {"module_type_configs": {"Linear": FOUR_BITS}, "module_name_configs": {"4": None}},
            {"0": 4, "2": 4},
        ),
    ],
    ids=["type-none", "type", "name-none", "name-before-type", "none-before-type"],
)
def test_a_name_comes_before_a_type_before_global(
    torch_subject: Subject, entries: Config, expected: dict[str, int]
) -> None:
    found = prepare(torch_subject, THREE, {"global_config": {}, **entries}, (1, 3))
    found.run(row(1, -2, 3))
    _expect_widths(found, expected)


@pytest.mark.clause("L.10")
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"module_name_configs": {"2": None}}, {"0": 8, "4": 8}),
        ({"module_name_configs": {"2": FOUR_BITS}}, {"0": 8, "2": 4, "4": 8}),
        ({"module_type_configs": {"Conv2d": None}}, {"0": 8, "2": 8, "4": 8}),
    ],
    ids=["name-none", "name", "type"],
)
def test_what_nothing_names_gets_the_defaults(
    torch_subject: Subject, entries: Config, expected: dict[str, int]
) -> None:
    found = prepare(torch_subject, THREE, entries, (1, 3))
    found.run(row(1, -2, 3))
    _expect_widths(found, expected)


@pytest.mark.clause("L.11")
@pytest.mark.parametrize("place", ["type", "name"])
def test_milestones_of_an_entry_are_not_ignored(torch_subject: Subject, place: str) -> None:
    source = "model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Conv1d(2, 2, 1))"
    key = {"type": "Conv1d", "name": "1"}[place]
    config = {
        "global_config": {"milestones": [0, -1, -1, -1]},
        f"module_{place}_configs": {key: {"milestones": [-1, -1, -1, -1]}},
    }
    try:
        found = prepare(torch_subject, source, config, (2, 3))
    except AssertionError as error:
        if isinstance(error.__cause__, ValueError):
            return  # refused in so many words
        raise
    found.step()
    torch_subject.extend_snippet("print(prepared.get_submodule('1').weight_fake_quant)\n")
    states = [
        bool(found.model.get_submodule(name).weight_fake_quant.observer_enabled)
        for name in ("0", "1")
    ]
    torch_subject.expect_equal(states, [True, False], "whether each layer's weight is observed")


ACTIVATIONS = {
    "Linear(3, 4)": """
        ReLU() PReLU() RReLU() ReLU6() LeakyReLU() Sigmoid() LogSigmoid() Hardsigmoid() SiLU()
        ELU() CELU() SELU() GLU() Mish() GELU() Tanh() Hardtanh() Softmax(dim=-1)
        LogSoftmax(dim=-1) Hardswish()
    """,
    "Conv2d(3, 4, 1)": "ReLU() SiLU() Hardswish()",
    "ConvTranspose2d(3, 4, 1)": "ReLU() LeakyReLU()",
}
SHAPES = {"Linear(3, 4)": (2, 3)}
FUSED = [
    "placeholder()",
    "quantize placeholder(placeholder)",
    "0(quantize placeholder)",
    "quantize 0(0)",
    "output(quantize 0)",
]


@pytest.mark.clause("L.31")
@pytest.mark.parametrize(
    ("layer", "activation"),
    [(layer, each) for layer, names in ACTIVATIONS.items() for each in names.split()],
)
def test_a_layer_and_its_activation_are_quantized_as_one(
    torch_subject: Subject, layer: str, activation: str
) -> None:
    shape = SHAPES.get(layer, (1, 3, 4, 4))
    source = f"model = torch.nn.Sequential(torch.nn.{layer}, torch.nn.{activation})"
    found = prepare(torch_subject, source, {}, shape)
    torch_subject.extend_snippet("print(prepared.graph)\n")
    torch_subject.expect_equal(placement(found.model), FUSED, "the graph")


@pytest.mark.clause("L.31")
@pytest.mark.parametrize("part", ["weight", "activation"])
def test_float32_switches_weights_or_activations_off(torch_subject: Subject, part: str) -> None:
    found = prepare(torch_subject, THREE, with_options(**{f"{part}_dtype": "float32"}), (1, 3))
    found.run(row(1, -2, 3))
    quantizers = [line for line in placement(found.model) if line.startswith("quantize")]
    torch_subject.expect_equal(
        bool(quantizers), part == "weight", "whether activations have fake quantizers"
    )
    _expect_widths(found, {} if part == "weight" else {"0": 8, "2": 8, "4": 8})


UNTRACEABLE = """
class Choosing(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x

model = torch.nn.Sequential(torch.nn.Linear(3, 4), Choosing(), torch.nn.Linear(4, 2))
"""


@pytest.mark.clause("L.38")
def test_modules_that_cannot_be_traced_can_be_left_out(torch_subject: Subject) -> None:
    config = {
        "global_config": {"milestones": [-1, -1, -1, -1]},
        "non_traceable_module_names": ["1"],
    }
    found = prepare(torch_subject, UNTRACEABLE, config, (1, 3))
    expected = build(UNTRACEABLE)
    for x in (row(1, -2, 3), row(-1, 2, -3)):
        same = torch.equal(found.run(x), expected(torch.from_numpy(x)))
        torch_subject.expect_equal(same, True, "whether it computes what the model does")
