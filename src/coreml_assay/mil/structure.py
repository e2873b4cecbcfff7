"""The structure of a program: what `describe` says, without names and floating-point values.

For programs that come from conversion, where names and the last bits of constants depend on how
the source happened to be written and on the machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.converters.mil.mil import types

from coreml_assay.mil.describe import shown_type, shown_value
from coreml_assay.mil.program import Program
from coreml_assay.numerics.blocks import Array


def structure(program: Program, function: str = "main") -> list[str]:
    """One line for each operation of a function without nested blocks, in order.

    Values are numbered as they appear, from ``%0``. A constant of integers, booleans or text is
    shown by its content, one of floating-point numbers by dtype and shape alone. Two programs with
    equal structure do the same with other numbers.
    """
    block = program.functions[function]
    numbers: dict[Any, str] = {}
    lines = []
    for name, var in block.inputs.items():
        numbers[var] = f"%{len(numbers)}"
        lines.append(f"{numbers[var]} = input {name}: {shown_type(var)}")
    for operation in block.operations:
        if operation.op_type == "const":
            continue
        inputs = ", ".join(
            f"{key}={_operand(value, numbers)}"
            for key, value in sorted(operation.inputs.items())
            if value is not None
        )
        for output in operation.outputs:
            numbers[output] = f"%{len(numbers)}"
        results = ", ".join(f"{numbers[var]}: {shown_type(var)}" for var in operation.outputs)
        lines.append(f"{results} = {operation.op_type}({inputs})")
    lines.append(f"outputs {', '.join(numbers[var] for var in block.outputs)}")
    return lines


def constants(program: Program, op_type: str, parameter: str, function: str = "main") -> Array:
    """A scalar parameter of all operations of a type, in order, as float64."""
    values = [
        np.float64(operation.inputs[parameter].val)
        for operation in program.functions[function].operations
        if operation.op_type == op_type
    ]
    return np.array(values)


def _operand(value: Any, numbers: dict[Any, str]) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_operand(item, numbers) for item in value)}]"
    if value in numbers:
        return numbers[value]
    if types.is_float(value.dtype):
        return shown_type(value)
    return shown_value(value)
