"""Where no defect intervenes, ops, names and scales are those of coremltools 9.0."""

from __future__ import annotations

import pytest
from activation_helpers import (
    conv,
    described,
    ignore_noise,
    linear,
    op_types,
    program,
    quantize,
)
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.mil.activation_programs import PROGRAMS
from coreml_assay.mil.activation_samples import pool
from coreml_assay.mil.describe import first_difference

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]

CASES = frozen_goldens("coremltools-9.0/activations").cases.programs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_what_coremltools_made(case):
    model = program(PROGRAMS[case.name])
    for frozen in case.quantized:
        found = described(quantize(model, mode=frozen.mode, dtype=frozen.dtype))
        assert first_difference(list(frozen.lines), found) is None, (frozen.mode, frozen.dtype)


def two_inputs(body):
    return program(body, [(1, 3, 8, 8), (1, 3, 8, 8)])


PAIR = ["quantize", "dequantize"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (program(lambda x: conv(x, "a")), ["cast", *PAIR, "conv", *PAIR, "cast"]),
        (
            program(lambda x: mb.relu(x=conv(x, "a"), name="r")),
            ["cast", *PAIR, "conv", "relu", *PAIR, "cast"],
        ),
        (program(lambda x: linear(x, "a")), ["cast", *PAIR, "linear", *PAIR, "cast"]),
        (program(pool), ["cast", *PAIR, "avg_pool", *PAIR, "cast"]),
        (
            program(lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="valid", name="p")),
            ["cast", *PAIR, "max_pool", *PAIR, "cast"],
        ),
        (
            two_inputs(lambda x, y: mb.add(x=x, y=y, name="sum")),
            ["cast", "cast", *PAIR, *PAIR, "add", *PAIR, "cast"],
        ),
        (
            program(lambda x: conv(conv(x, "a"), "b")),
            ["cast", *PAIR, "conv", *PAIR, "conv", *PAIR, "cast"],
        ),
        (
            program(lambda x: mb.softmax(x=conv(x, "a"), axis=1, name="s")),
            ["cast", *PAIR, "conv", *PAIR, "softmax", "cast"],
        ),
        (program(lambda x: conv(x, "a"), dtype="fp32"), [*PAIR, "conv"]),
        (
            program(lambda x: mb.relu(x=conv(x, "a"), name="r"), dtype="fp32"),
            [*PAIR, "conv", *PAIR, "relu"],
        ),
    ],
    ids=[
        "conv",
        "relu",
        "linear",
        "avg",
        "max",
        "add",
        "twice",
        "softmax",
        "output",
        "fused output",
    ],
)
def test_op_sequences(model, expected):
    found = op_types(quantize(model))
    if "add" in expected:  # the casts stand before the pairs, or each before its own
        assert sorted(found) == sorted(expected)
        assert found[-4:] == expected[-4:]
        assert found.count("quantize") == 3
    else:
        assert found == expected
