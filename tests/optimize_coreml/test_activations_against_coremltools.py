"""Where no defect intervenes, ops, names and scales are those of coremltools 9.0."""

from __future__ import annotations

import numpy as np
import pytest
from activation_helpers import (
    conv,
    described,
    ignore_noise,
    linear,
    op_types,
    program,
    quantize,
    quantize_by_coremltools,
)
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.mil.describe import first_difference

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]


def pool(x):
    return mb.avg_pool(x=x, kernel_sizes=[2, 2], pad_type="valid", name="p")


def branches(x):
    a = conv(x, "a")
    return [conv(a, "b", seed=2), conv(a, "c", seed=3)]


def concatenated(x):
    halves = [conv(x, "a"), mb.relu(x=conv(x, "b", seed=2), name="r")]
    return conv(mb.concat(values=halves, axis=1, name="cat"), "c", seed=3)


def activation_and_more(x):
    a = conv(x, "a")
    return [mb.relu(x=a, name="r"), mb.softmax(x=a, axis=1, name="s")]


def residual(x):
    return mb.relu(x=mb.add(x=conv(x, "a", channels=3), y=x, name="sum"), name="r")


def saturated(activation):
    return lambda x: activation(x=conv(mb.mul(x=x, y=np.float16(64), name="m"), "a"), name="act")


PROGRAMS = {
    "conv": lambda x: conv(x, "a"),
    "conv, relu": lambda x: mb.relu(x=conv(x, "a"), name="r"),
    "conv, conv": lambda x: conv(conv(x, "a"), "b"),
    "conv, leaky_relu": lambda x: mb.leaky_relu(x=conv(x, "a"), alpha=0.5, name="r"),
    "conv, tanh": saturated(mb.tanh),
    "conv, sigmoid": saturated(mb.sigmoid),
    "conv, clip, conv": lambda x: conv(
        mb.clip(x=conv(x, "a"), alpha=np.float16(0), beta=np.float16(6), name="r"), "b"
    ),
    "conv, softmax": lambda x: mb.softmax(x=conv(x, "a"), axis=1, name="s"),
    "linear, relu": lambda x: mb.relu(x=linear(x, "a"), name="r"),
    "linear, linear": lambda x: linear(linear(x, "a"), "b"),
    "avg_pool": pool,
    "conv, max_pool": lambda x: mb.max_pool(
        x=conv(x, "a"), kernel_sizes=[2, 2], pad_type="valid", name="p"
    ),
    "conv, relu, avg_pool": lambda x: pool(mb.relu(x=conv(x, "a"), name="r")),
    "conv, transpose, conv": lambda x: conv(
        mb.transpose(x=conv(x, "a"), perm=[0, 1, 3, 2], name="t"), "b"
    ),
    "matmul of two": lambda x: mb.matmul(
        x=conv(x, "a"), y=conv(x, "b", seed=2), transpose_y=True, name="m"
    ),
    "residual": residual,
    "x + x": lambda x: mb.add(x=x, y=x, name="sum"),
    "add, add": lambda x: mb.add(
        x=mb.add(x=x, y=x, name="s"), y=conv(x, "a", channels=3), name="t"
    ),
    "branches": branches,
    "an activation and more": activation_and_more,
    "concat": concatenated,
}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_equals_coremltools(name, mode, dtype):
    model = program(PROGRAMS[name])
    found = quantize(model, mode=mode, dtype=dtype)
    expected = quantize_by_coremltools(model, mode=mode, dtype=dtype)
    assert first_difference(described(expected), described(found)) is None


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
