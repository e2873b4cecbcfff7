"""The quantize/dequantize pairs of a program: which tensors, which parameters, where they stand."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from coreml_assay.mil.describe import shown_type, shown_value
from coreml_assay.mil.program import Operation, Program, all_operations


@attrs.frozen
class Pair:
    """A quantize op and what it is given.

    Attributes:
        tensor: the name of what it quantizes.
        codes: its output type, for example "int8".
        scale: a scalar in its own dtype.
        zero_point: an integer, 0 where the op has none.
        restores: for each dequantize op that takes its codes, whether scale and zero point are
            the same.
    """

    tensor: str
    codes: str
    scale: Any
    zero_point: int
    restores: tuple[bool, ...]


def operations(program: Program) -> list[Operation]:
    """All ops but constants, in order, those of inner blocks before the op that holds them."""
    return [
        operation
        for function in program.functions.values()
        for operation in all_operations(function)
        if operation.op_type != "const"
    ]


def op_types(program: Program) -> list[str]:
    """The types of these ops."""
    return [operation.op_type for operation in operations(program)]


def pairs(program: Program) -> list[Pair]:
    """All quantize ops, in order."""
    return [_pair(each) for each in operations(program) if each.op_type == "quantize"]


def scales(program: Program) -> dict[str, Any]:
    """The scale of each tensor that is quantized, by its name."""
    return {pair.tensor: pair.scale for pair in pairs(program)}


def _pair(operation: Operation) -> Pair:
    return Pair(
        operation.input.name,
        str(operation.output_dtype.val),
        operation.scale.val,
        _zero_point(operation),
        tuple(
            _zero_point(consumer) == _zero_point(operation)
            and np.array_equal(consumer.scale.val, operation.scale.val)
            for consumer in operation.outputs[0].child_ops
            if consumer.op_type == "dequantize"
        ),
    )


def _zero_point(operation: Operation) -> int:
    return 0 if operation.zero_point is None else int(operation.zero_point.val)


def described(program: Program) -> list[str]:
    """One line for each op, with the value of every constant.

    The names of quantize and dequantize ops are arbitrary: their results are numbered. Two
    programs with equal lines do the same and have equal names for all else.
    """
    numbers: dict[str, str] = {}
    lines = []
    for i, operation in enumerate(operations(program)):
        inputs = ", ".join(
            f"{key}={_shown(value, numbers)}"
            for key, value in sorted(operation.inputs.items())
            if value is not None
        )
        if operation.op_type in ("quantize", "dequantize"):
            numbers[operation.outputs[0].name] = f"%{i}"
        results = ", ".join(
            f"{numbers.get(var.name, var.name)}: {shown_type(var)}" for var in operation.outputs
        )
        lines.append(f"{operation.op_type}({inputs}) -> {results}")
    for name, function in program.functions.items():
        outputs = ", ".join(numbers.get(var.name, var.name) for var in function.outputs)
        lines.append(f"outputs of {name}: {outputs}")
    return lines


def _shown(value: Any, numbers: dict[str, str]) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_shown(item, numbers) for item in value)}]"
    if value.val is None:
        return str(numbers.get(value.name, value.name))
    return shown_value(value)
