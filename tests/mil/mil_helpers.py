"""Building small programs, evaluating them, and saying what each operation is checked against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import coremltools as ct
import numpy as np
import onnx
import onnxruntime
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import get_new_symbol, types

from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.precision import Precision, held_as

IOS15, IOS16, IOS17, IOS18 = ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18

_DTYPES = {
    "bool": types.bool,
    "float16": types.fp16,
    "float32": types.fp32,
    "int8": types.int8,
    "int16": types.int16,
    "int32": types.int32,
    "uint8": types.uint8,
    "uint16": types.uint16,
}


def checks(*op_types: str, against: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare that a test compares operations with something independent.

    Args:
        op_types: the operations.
        against: what with; the word goes into docs/operations.md.
    """

    def declare(test: Callable[..., None]) -> Callable[..., None]:
        declared = getattr(test, "checked_operations", [])
        test.checked_operations = [*declared, *((op_type, against) for op_type in op_types)]
        return test

    return declare


def program(
    build: Callable[..., Any],
    inputs: dict[str, np.ndarray],
    opset: Any = IOS17,
    flexible: dict[str, Sequence[int | None]] | None = None,
) -> Any:
    """A program of the function that `build` makes of inputs with these shapes and dtypes.

    Args:
        build: from one Var for each input to a Var, or several.
        inputs: arrays.
        opset: of the operations.
        flexible: shapes for inputs that have lengths left open (None).
    """
    specs = []
    for name, array in inputs.items():
        shape = (flexible or {}).get(name, array.shape)
        open_shape = tuple(get_new_symbol() if length is None else length for length in shape)
        specs.append(mb.TensorSpec(open_shape, dtype=_DTYPES[array.dtype.name]))

    def main(*variables: Any) -> Any:
        result = build(*variables)
        return tuple(result) if isinstance(result, list | tuple) else result

    names = list(inputs)
    code = f"lambda {', '.join(names)}: main({', '.join(names)})"
    return mb.program(input_specs=specs, opset_version=opset)(eval(code, {"main": main}))


def evaluate(
    build: Callable[..., Any],
    opset: Any = IOS17,
    flexible: dict[str, Sequence[int | None]] | None = None,
    precision: Precision = Precision.FLOAT32,
    **inputs: np.ndarray,
) -> Any:
    """What a program gives for inputs: an array, or a list of them if it has several outputs.

    Every value on the way must have the shape and kind that the program's types say, in this
    precision and in float64.
    """
    prog = program(build, inputs, opset, flexible)
    for each in {precision, Precision.FLOAT64}:
        seen: dict[str, Any] = {}
        evaluator = Evaluator(prog, each)
        evaluator.run(inputs, tap=seen.__setitem__)
        for op in prog.functions["main"].operations:
            for var in op.outputs:
                if var.name in seen:
                    assert_conforms(var, seen[var.name], each)
    results = list(Evaluator(prog, precision).predict(inputs).values())
    return results[0] if len(results) == 1 else results


def assert_conforms(var: Any, tensor: Any, precision: Precision) -> None:
    """A tensor has the lengths and the kind of element that its Var announces."""
    # coremltools announces -1 for a topk of all elements.
    announced = [n if isinstance(n, int | np.integer) and n >= 0 else None for n in var.shape]
    found = list(tensor.shape)
    assert len(found) == len(announced), f"{var.op.op_type}: {found}, announced {var.shape}"
    pairs = zip(found, announced, strict=True)
    assert all(a in (None, f) for f, a in pairs), f"{var.op.op_type}: {found} not {var.shape}"
    dtype = held_as(types.builtin_to_string(var.dtype), precision)
    assert tensor.dtype == dtype, f"{var.op.op_type}: {tensor.dtype}, not {dtype}"


def assert_close(found: Any, expected: Any, relative: float = 1e-6) -> None:
    """Shapes are equal, and no difference exceeds the bound times the largest element."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{found.shape}, expected {expected.shape}"
    largest = np.max(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * max(largest, 1e-30))


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Float32 numbers from the normal distribution."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def onnx_run(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    outputs: int = 1,
    opset: int = 18,
    **attributes: Any,
) -> Any:
    """What ONNX Runtime makes of one operation: an array, or a list of several outputs."""
    names = ["" if array is None else f"i{i}" for i, array in enumerate(inputs)]
    results = [f"o{i}" for i in range(outputs)]
    node = onnx.helper.make_node(op_type, names, results, **attributes)
    given = {n: np.asarray(a) for n, a in zip(names, inputs, strict=True) if a is not None}
    graph = onnx.helper.make_graph(
        [node],
        op_type,
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in given.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in results],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=9
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    found = session.run(None, given)
    return found[0] if outputs == 1 else found
