"""The structure of a program: the same for the same program with other numbers and names."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from coreml_assay.mil.structure import constants, structure


def program(weight, scale=0.5, code=3, name="op", kind="relu"):
    inputs = {"x": mb.placeholder((2, 3), types.fp32)}
    with Function(inputs, opset_version=ct.target.iOS17) as function:
        y = mb.linear(x=function.inputs["x"], weight=weight, name=f"{name}_linear")
        y = getattr(mb, kind)(x=y, name=f"{name}_activation")
        q = mb.quantize(
            input=y, scale=np.float32(scale), zero_point=np.uint8(code), output_dtype="uint8"
        )
        function.set_outputs(
            [mb.dequantize(input=q, scale=np.float32(scale), zero_point=np.uint8(code))]
        )
    made = Program()
    made.add_function("main", function)
    return made


WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_names_and_floating_point_values_do_not_matter():
    assert structure(program(WEIGHT)) == structure(program(WEIGHT + 1, scale=0.25, name="other"))


@pytest.mark.parametrize(
    "other",
    [
        {"weight": WEIGHT[:3]},
        {"weight": WEIGHT, "code": 4},
        {"weight": WEIGHT, "kind": "sigmoid"},
    ],
)
def test_shapes_integers_and_operations_do(other):
    assert structure(program(WEIGHT)) != structure(program(**other))


def test_a_line_an_operation():
    assert structure(program(WEIGHT)) == [
        "%0 = input x: fp32[2, 3]",
        "%1: fp32[2, 4] = linear(bias=fp32[4], weight=fp32[4, 3], x=%0)",
        "%2: fp32[2, 4] = relu(x=%1)",
        "%3: uint8[2, 4] = quantize(input=%2, output_dtype='uint8', scale=fp32[],"
        " zero_point=uint8[] 3)",
        "%4: fp32[2, 4] = dequantize(input=%3, scale=fp32[], zero_point=uint8[] 3)",
        "outputs %4",
    ]


def test_scalar_parameters_in_order():
    assert constants(program(WEIGHT, scale=0.25), "quantize", "scale").tolist() == [0.25]
