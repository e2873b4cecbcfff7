"""Small ML programs made to order: weights, each consumed by an op of a chosen type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import coremltools as ct
import numpy as np
import numpy.typing as npt
from coremltools.converters.mil.converter import mil_convert
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from coreml_assay.mil.program import Model
from coreml_assay.numerics.blocks import Array

TARGETS = {
    "iOS15": ct.target.iOS15,
    "iOS16": ct.target.iOS16,
    "iOS17": ct.target.iOS17,
    "iOS18": ct.target.iOS18,
}


@attrs.frozen(eq=False)
class Weight:
    """A weight of a sample program.

    Attributes:
        name: of the constant.
        value: float16, float32, or an integer type.
        consumer: a key of `CONSUMERS`, the op that takes the weight.
    """

    name: str
    value: Array
    consumer: str


@attrs.frozen
class _Consumer:
    """How to feed an op that takes a weight."""

    input_shape: Callable[[tuple[int, ...]], tuple[int, ...]]  # from the weight's shape
    build: Callable[[Any, Any, str], Any]  # (input, weight, name) -> output


def _matmul(weight_is: str, transposed: bool) -> _Consumer:
    def input_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
        rows, columns = (shape[-1], shape[-2]) if transposed else shape[-2:]
        return (*shape[:-2], 2, rows) if weight_is == "y" else (*shape[:-2], columns, 2)

    def build(x: Any, weight: Any, name: str) -> Any:
        if weight_is == "y":
            return mb.matmul(x=x, y=weight, transpose_y=transposed, name=name)
        return mb.matmul(x=weight, y=x, transpose_x=transposed, name=name)

    return _Consumer(input_shape, build)


CONSUMERS = {
    "add": _Consumer(lambda shape: (1,), lambda x, w, name: mb.add(x=x, y=w, name=name)),
    "linear": _Consumer(
        lambda shape: (2, shape[1]), lambda x, w, name: mb.linear(x=x, weight=w, name=name)
    ),
    "conv": _Consumer(
        lambda shape: (1, *shape[1:]), lambda x, w, name: mb.conv(x=x, weight=w, name=name)
    ),
    "conv_transpose": _Consumer(
        lambda shape: (1, shape[0], *[2] * (len(shape) - 2)),
        lambda x, w, name: mb.conv_transpose(x=x, weight=w, name=name),
    ),
    "matmul_y": _matmul("y", transposed=False),
    "matmul_y_transposed": _matmul("y", transposed=True),
    "matmul_x": _matmul("x", transposed=False),
    "matmul_x_transposed": _matmul("x", transposed=True),
}

# For each consumer: the ranks a weight may have, and its (output, input) channel axes, negative
# ones counted from the end.
CHANNELS = {
    "add": (range(1, 6), (0, 1)),
    "linear": (range(2, 3), (0, 1)),
    "conv": (range(3, 6), (0, 1)),
    "conv_transpose": (range(3, 6), (1, 0)),
    "matmul_y": (range(2, 6), (-1, -2)),
    "matmul_y_transposed": (range(2, 6), (-2, -1)),
    "matmul_x": (range(2, 6), (-2, -1)),
    "matmul_x_transposed": (range(2, 6), (-1, -2)),
}


def build_model(weights: Sequence[Weight], target: str = "iOS18") -> Model:
    """A model with one op and one output for each weight, named ``<weight>_out``.

    Args:
        weights: at least one; their names must differ.
        target: a key of `TARGETS`.
    """
    inputs = {
        f"{weight.name}_in": placeholder(
            CONSUMERS[weight.consumer].input_shape(weight.value.shape), weight.value.dtype
        )
        for weight in weights
    }

    def body(*xs: Any) -> list[Any]:
        return [
            CONSUMERS[weight.consumer].build(
                x, mb.const(val=weight.value, name=weight.name), f"{weight.name}_out"
            )
            for x, weight in zip(xs, weights, strict=True)
        ]

    return model_of(inputs, body, target)


def single(value: Array, consumer: str = "linear", target: str = "iOS18") -> Model:
    """A model with one weight, named ``w``."""
    return build_model([Weight("w", value, consumer)], target)


def model_of(inputs: dict[str, Any], body: Callable[..., Any], target: str) -> Model:
    """A model from a function over MIL variables, converted without any optimization.

    Args:
        inputs: name to placeholder, as `placeholder` makes it.
        body: takes one variable for each input, returns the sequence of outputs.
        target: a key of `TARGETS`.
    """
    function = Function(inputs, opset_version=TARGETS[target])
    with function:
        function.set_outputs(list(body(*function.inputs.values())))
    program = Program()
    program.add_function("main", function)
    return mil_convert(
        program,
        convert_to="mlprogram",
        convert_from="milinternal",
        specification_version=TARGETS[target].value,
        compute_units=ct.ComputeUnit.ALL,
        skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    )


def placeholder(shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Any:
    """An input of a program, float32 or float16."""
    kind = types.fp16 if np.dtype(dtype) == np.float16 else types.fp32
    return mb.placeholder(shape=tuple(shape), dtype=kind)
