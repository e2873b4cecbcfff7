"""Which layers of a PyTorch model are quantized, and with which configuration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import (
    Compressed,
    compress,
    evaluate,
    everywhere,
    expect_left,
    expect_quantized,
)
from coreml_assay.implementations.torch_models import LAYERS

NAMED = """
model = torch.nn.Sequential()
model.add_module("fc", torch.nn.Linear(8, 6))
model.add_module("fc2", torch.nn.Linear(6, 4))
model.add_module("conv", torch.nn.Conv1d(4, 4, 1))
"""


@pytest.mark.clause("T.12")
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("place", ["root", "nested"])
def test_layers_that_are_quantized(torch_subject: Subject, kind: str, place: str) -> None:
    layer = LAYERS[kind]
    nested = f"torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Sequential({layer.source}))"
    source, prefix = (layer.source, "") if place == "root" else (nested, "1.0.")
    found = compress(torch_subject, f"model = {source}")
    quantized = [prefix + name for name in layer.weights]
    expect_quantized(torch_subject, found.weights, *quantized)
    _expect_rest_left(torch_subject, found, quantized)


@pytest.mark.clause("T.12")
@pytest.mark.parametrize(
    "other",
    [
        "Embedding(8, 8)",
        "BatchNorm2d(8)",
        "LayerNorm((8, 8))",
        "PReLU(8)",
        "LSTM(8, 8)",
        "Bilinear(8, 8, 8)",
        "MultiheadAttention(8, 2, add_bias_kv=True)",
    ],
)
def test_everything_else_stays(torch_subject: Subject, other: str) -> None:
    source = f"model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.{other})"
    found = compress(torch_subject, source)
    attention = ["1.in_proj_weight", "1.out_proj.weight"] if "Attention" in other else []
    quantized = ["0.weight", *attention]
    expect_quantized(torch_subject, found.weights, *quantized)
    _expect_rest_left(torch_subject, found, quantized)


def _expect_rest_left(subject: Subject, found: Compressed, quantized: list[str]) -> None:
    for name in sorted(set(found.before) - set(quantized)):
        expect_left(subject, found, name)


LEVELS = ["everything", "type", "later", "first"]  # the last that is there decides
CODES = ["int8", "uint8", "int4", "uint4"]


@pytest.mark.clause("T.5")
@given(
    chosen=st.fixed_dictionaries(
        {level: st.sampled_from(["absent", "none", *CODES]) for level in LEVELS}
    ),
    by_class=st.booleans(),
)
def test_name_comes_before_type_before_global(
    torch_subject: Subject, chosen: dict[str, str], by_class: bool
) -> None:
    options: dict[str, Any] = {
        level: None if choice == "none" else {"weight_dtype": choice}
        for level, choice in chosen.items()
        if choice != "absent"
    }
    linear = evaluate(torch_subject, "torch.nn.Linear") if by_class else "Linear"
    # Both names match the layer; in a dictionary the first one stands first.
    names = {"first": r"f\w", "later": ".*c"}
    config = {
        "global_config": options.get("everything"),
        "module_type_configs": {linear: options["type"]} if "type" in options else {},
        "module_name_configs": {
            names[level]: options[level] for level in ("first", "later") if level in options
        },
    }
    source = 'model = torch.nn.Sequential()\nmodel.add_module("fc", torch.nn.Linear(8, 6))'
    found = compress(torch_subject, source, config).weights["fc.weight"]
    winner = next((chosen[level] for level in reversed(LEVELS) if level in options), "none")
    if winner == "none" and set(options) <= {"everything"}:
        winner = "int8"  # no configuration at all stands for the default everywhere
    signed = "int" if found.zero_point is None else "uint"
    codes = f"{signed}{found.n_bits}" if found.is_quantized else "none"
    torch_subject.expect_equal(codes, winner, f"the codes when the configurations are {chosen}")


@pytest.mark.clause("T.5")
@pytest.mark.parametrize("name", ["fc", r"fc\d?", "f"])
def test_a_name_matches_in_full(torch_subject: Subject, name: str) -> None:
    config = {"global_config": {}, "module_name_configs": {name: None}}
    found = compress(torch_subject, NAMED, config).weights
    left = {"fc": ["fc"], r"fc\d?": ["fc", "fc2"], "f": []}[name]
    quantized = [f"{layer}.weight" for layer in ("fc", "fc2", "conv") if layer not in left]
    expect_quantized(torch_subject, found, *quantized)


@pytest.mark.clause("T.5")
def test_a_subclass_is_not_its_class(torch_subject: Subject) -> None:
    source = (
        "class Custom(torch.nn.Linear):\n    pass\n"
        "model = torch.nn.Sequential(torch.nn.Linear(4, 4), Custom(4, 4), Custom(4, 4))"
    )
    config = {
        "module_type_configs": {"Linear": {}, "Custom": {"weight_dtype": "int4"}},
        "module_name_configs": {"2": None},
    }
    found = compress(torch_subject, source, config).weights
    bits = [found[f"{i}.weight"].n_bits for i in range(3)]
    torch_subject.expect_equal(bits, [8, 4, None], "the width of the codes")


@pytest.mark.clause("T.6")
@pytest.mark.parametrize(
    "config",
    [
        {"module_name_configs": {"fc2": {}}},
        {"module_type_configs": {"Conv1d": None}, "module_name_configs": {"fc2": {}}},
    ],
    ids=["name", "type"],
)
def test_without_a_global_configuration_the_rest_is_left(
    torch_subject: Subject, config: dict[str, Any]
) -> None:
    found = compress(torch_subject, NAMED, config)
    expect_quantized(torch_subject, found.weights, "fc2.weight")
    _expect_rest_left(torch_subject, found, ["fc2.weight"])


@pytest.mark.clause("T.5", "T.12")
@pytest.mark.parametrize("sizes", ["", ", kdim=8, vdim=8"], ids=["one", "separate"])
def test_attention_has_one_configuration(torch_subject: Subject, sizes: str) -> None:
    source = f"model = torch.nn.Sequential(torch.nn.MultiheadAttention(4, 2{sizes}))"
    config = {
        "global_config": {},
        "module_name_configs": {"0": {"weight_dtype": "uint4"}, r"0\.out_proj": None},
    }
    found = compress(torch_subject, source, config).weights
    for name, weight in found.items():
        if name.endswith("weight"):
            torch_subject.expect_equal(weight.n_bits, 4, f"the width of the codes of {name}")


@pytest.mark.clause("T.21")
@pytest.mark.parametrize(
    ("source", "config"),
    [
        ("torch.nn.ReLU()", everywhere()),
        ("torch.nn.Linear(4, 4)", {"module_name_configs": {"fc": {}}}),
        ("torch.nn.Conv2d(3, 8, 3)", everywhere(granularity="per_block", block_size=128)),
    ],
    ids=["no_layer", "no_name", "no_block"],
)
def test_it_is_a_warning_when_nothing_is_quantized(
    torch_subject: Subject, source: str, config: Any
) -> None:
    found = compress(torch_subject, f"model = {source}", config)
    torch_subject.expect(
        bool(found.messages), "nothing is quantized, in silence", "a warning", "no warning"
    )
