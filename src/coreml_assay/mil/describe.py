"""A canonical description of a program, so that two can be compared op for op, bit for bit."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import zip_longest
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import types

from coreml_assay.mil.program import Block, Operation, Program

_SHOWN_ELEMENTS = 4  # longer values are shown by digest


def describe(program: Program) -> list[str]:
    """One line for each operation, in order, nested blocks before the operation that holds them.

    A line holds the op type and name, each input by name (a constant also by dtype, shape and
    content), and each output with dtype and shape. The inputs and outputs of every block have
    lines too. Constants have no line of their own: their order means nothing and is lost in a
    file. The parts of a compressed constant are left unnamed: coremltools numbers their names
    anew. Two programs with equal descriptions are the same program.
    """
    lines: list[str] = []
    for name, function in sorted(program.functions.items()):
        inputs = ", ".join(f"{key}: {shown_type(var)}" for key, var in function.inputs.items())
        lines.append(f"function {name}({inputs}) for {function.opset_version.name}")
        lines += _describe_block(function)
        lines.append(_outputs(function))
    return _number_symbols(lines)


def digest(program: Program) -> str:
    """SHA-256 of the description."""
    return hashlib.sha256("\n".join(describe(program)).encode()).hexdigest()


def operation_counts(program: Program) -> dict[str, int]:
    """How often each op type occurs, constants left out."""
    counts = Counter(
        line.split(" ", 1)[0] for line in describe(program) if not line.startswith(_NOT_COUNTED)
    )
    return dict(sorted(counts.items()))


def first_difference(expected: list[str], found: list[str]) -> str | None:
    """A sentence on the first line in which two descriptions differ, or None if they are equal."""
    for number, (want, have) in enumerate(zip_longest(expected, found)):
        if want != have:
            return f"line {number}: expected {want or 'nothing more'}; found {have or 'nothing'}"
    return None


_NOT_COUNTED = ("function ", "outputs ", "block ")


def _number_symbols(lines: list[str]) -> list[str]:
    """Name the symbols of flexible shapes by first appearance; coremltools numbers them anew."""
    names: dict[str, str] = {}
    return [
        re.sub(r"\?is\d+", lambda match: names.setdefault(match[0], f"s{len(names)}"), line)
        for line in lines
    ]


def _outputs(block: Block) -> str:
    return f"outputs {', '.join(_input(var, named=True) for var in block.outputs)}"


def _describe_block(block: Block) -> list[str]:
    lines = []
    for operation in block.operations:
        for inner in operation.blocks:
            inputs = ", ".join(f"{var.name}: {shown_type(var)}" for var in inner.inputs)
            lines.append(f"block of {operation.name}({inputs})")
            lines += [*_describe_block(inner), _outputs(inner)]
        if operation.op_type != "const":
            lines.append(_describe_operation(operation))
    return lines


def _describe_operation(operation: Operation) -> str:
    named = not operation.op_type.startswith("constexpr_")
    inputs = ", ".join(
        f"{key}={_input(var, named)}" for key, var in sorted(operation.inputs.items())
    )
    outputs = ", ".join(f"{var.name}: {shown_type(var)}" for var in operation.outputs)
    return f"{operation.op_type} {operation.name}({inputs}) -> {outputs}"


def _input(value: Any, named: bool) -> str:
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_input(item, named) for item in value) + "]"
    if value.op is not None and value.op.op_type == "const":
        return f"{value.name}:{shown_value(value)}" if named else shown_value(value)
    return str(value.name)


def shown_value(var: Any) -> str:
    """A constant by dtype, shape and content, a long one by the digest of its content."""
    value = var.val
    if not isinstance(value, (np.ndarray, np.generic)):
        return repr(value)
    array = np.asarray(value)
    kind = f"{_dtype(var)}{list(array.shape)}"
    if array.size <= _SHOWN_ELEMENTS:
        return f"{kind} {array.tolist()}"
    content = np.ascontiguousarray(array).tobytes()
    return f"{kind} sha256:{hashlib.sha256(content).hexdigest()}"


def shown_type(var: Any) -> str:
    """Dtype and shape of a value."""
    shape = getattr(var, "shape", None)
    return _dtype(var) if shape is None else f"{_dtype(var)}[{', '.join(map(_length, shape))}]"


def _length(length: Any) -> str:
    """The length of an axis; symbols are marked, so that no name is taken for one."""
    return re.sub(r"\bis\d+\b", r"?\g<0>", str(length))


def _dtype(var: Any) -> str:
    try:
        return str(types.builtin_to_string(var.dtype))
    except KeyError:
        return str(var.dtype)  # strings, lists and dictionaries have no short name
