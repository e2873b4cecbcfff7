"""What running a program takes, worked out once: steps over numbered slots.

Every value of a function, those of nested blocks included, has a slot of its own in one list.
Constants are converted, and compressed weights decompressed, when the plan is made; slots that
no later step reads are emptied when a step is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from coremltools.converters.mil.mil import Block, Function, Operation, Var, types

from coreml_assay.mil import ops
from coreml_assay.mil.errors import EvaluationError, UnsupportedOperation
from coreml_assay.mil.precision import Precision, held_as, round_to_fp16


@attrs.frozen
class Output:
    """Where one result of a step goes.

    Attributes:
        name: of the value in the program.
        slot: that holds it.
        dtype: that it is held in, None for what is no tensor.
        rounds: whether it is rounded to fp16 on the way.
    """

    name: str
    slot: int
    dtype: torch.dtype | None
    rounds: bool


@attrs.frozen
class Step:
    """One operation with everything it needs.

    Attributes:
        op_type: type of the operation.
        name: of the operation in the program.
        place: function and block it stands in, for messages.
        function: that carries it out, called with keyword arguments alone.
        parameters: arguments that are Python values.
        operands: argument names and the slots of their values.
        groups: argument names and the slots of their tuples' values.
        blocks: plans of nested blocks.
        outputs: one for each result.
        frees: slots to empty afterwards.
    """

    op_type: str
    name: str
    place: str
    function: ops.Operation
    parameters: dict[str, Any]
    operands: tuple[tuple[str, int], ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    blocks: tuple[BlockPlan, ...]
    outputs: tuple[Output, ...]
    frees: tuple[int, ...]


@attrs.frozen
class BlockPlan:
    """The steps of a block.

    Attributes:
        inputs: where its inputs are put.
        input_names: what they are called in the program.
        steps: in order.
        outputs: slots of what it returns.
        reads: every slot that is read in it, nested blocks included.
    """

    inputs: tuple[int, ...]
    input_names: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    reads: frozenset[int]


@attrs.frozen
class FunctionPlan:
    """A function, ready to be run.

    Attributes:
        body: its steps.
        slots: one value for each slot: constants where there are any, else None.
        names: of every value that the steps produce, inputs of nested blocks included.
    """

    body: BlockPlan
    slots: list[Any]
    names: frozenset[str]


def plan_function(function: Function, name: str, precision: Precision) -> FunctionPlan:
    """Work out how a function is run.

    Args:
        function: of a PyMIL program.
        name: of the function, for messages.
        precision: of the evaluation, in which constants are held.

    Raises:
        UnsupportedOperation: an operation that no function is known for.
        EvaluationError: a compressed weight that cannot be decompressed.
    """
    planner = _Planner(precision)
    inputs = list(function.inputs.values())
    body = planner.block(function, inputs, f"function {name!r}")
    return FunctionPlan(body, planner.slots, frozenset(planner.names))


class _Planner:
    """Hands out slots while the blocks of one function are gone through."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.slots: list[Any] = []
        self.names: list[str] = []
        self._slot_of: dict[Var, int] = {}
        self._arrays: dict[Var, Any] = {}

    def block(self, block: Block, inputs: Sequence[Var], place: str) -> BlockPlan:
        """Plan a block whose surroundings are planned already."""
        entry = tuple(self._new_slot(var) for var in inputs)
        input_names = tuple(var.name for var in inputs)
        steps = []
        for op in block.operations:
            if op.op_type == "const":
                continue
            if op.op_type in ops.CONSTANT_OPERATIONS:
                self._decompress(op, place)
            elif op.op_type in ops.OPERATIONS:
                steps.append(self._step(op, place))
            else:
                raise UnsupportedOperation(op.op_type, op.name, place)
        outputs = tuple(self._slot(var) for var in block.outputs)
        own = {*entry, *(output.slot for step in steps for output in step.outputs)}
        return _with_frees(BlockPlan(entry, input_names, tuple(steps), outputs, frozenset()), own)

    def _step(self, op: Operation, place: str) -> Step:
        parameters, operands, groups = {}, [], []
        for key, value in op.inputs.items():
            if isinstance(value, list | tuple):
                groups.append((key, tuple(self._slot(var) for var in value)))
            elif _is_parameter(op, key, value):
                parameters[key] = self._python_value(value)
            else:
                operands.append((key, self._slot(value)))
        self.names += [var.name for block in op.blocks for var in block.inputs]
        blocks = tuple(
            self.block(block, block.inputs, f"{place}, block {block.name!r} of {op.name!r}")
            for block in op.blocks
        )
        return Step(
            op.op_type,
            op.name,
            place,
            ops.OPERATIONS[op.op_type],
            parameters,
            tuple(operands),
            tuple(groups),
            blocks,
            tuple(self._output(var) for var in op.outputs),
            (),
        )

    def _output(self, var: Var) -> Output:
        self.names.append(var.name)
        tensor = types.is_tensor(var.sym_type) or types.is_scalar(var.sym_type)
        mil_type = types.builtin_to_string(var.dtype) if tensor else ""
        rounds = mil_type == "fp16" and self.precision is Precision.FLOAT16
        return Output(var.name, self._new_slot(var), held_as(mil_type, self.precision), rounds)

    def _slot(self, var: Var) -> int:
        """The slot of a value, which for a constant is filled when first asked for."""
        if var not in self._slot_of:
            slot = self._new_slot(var)
            value = self._array(var)
            self.slots[slot] = self._tensor(var, value) if _numeric(value) else value
        return self._slot_of[var]

    def _new_slot(self, var: Var) -> int:
        self._slot_of[var] = len(self.slots)
        self.slots.append(None)
        return self._slot_of[var]

    def _array(self, var: Var) -> Any:
        """The value of a constant as stored, or as decompressed; numbers as arrays."""
        value = self._arrays.get(var, var.val)
        return np.asarray(value) if isinstance(value, bool | int | float | np.generic) else value

    def _tensor(self, var: Var, value: Any) -> torch.Tensor:
        dtype = held_as(types.builtin_to_string(var.dtype), self.precision)
        return torch.from_numpy(np.array(value)).to(dtype)

    def _python_value(self, var: Var) -> Any:
        """A constant as a Python value, or as a tensor where it is not one of the small ones."""
        value = self._array(var)
        if isinstance(value, list | tuple):  # a classifier's classes
            return tuple(str(label) if isinstance(label, str) else int(label) for label in value)
        if not _numeric(value):
            return str(value)
        if value.ndim == 0:
            return value.item()
        if value.ndim == 1 and value.dtype in (np.bool_, np.int32, np.uint32):
            return tuple(value.tolist())
        return self._tensor(var, value)

    def _decompress(self, op: Operation, place: str) -> None:
        operands = {key: self._working(self._array(var)) for key, var in op.inputs.items()}
        try:
            result = ops.CONSTANT_OPERATIONS[op.op_type](**operands)
        except Exception as error:
            raise EvaluationError(op.op_type, op.name, place, error) from error
        results = result if isinstance(result, tuple) else (result,)
        for var, value in zip(op.outputs, results, strict=True):
            rounds = types.builtin_to_string(var.dtype) == "fp16"
            if rounds and self.precision is Precision.FLOAT16:
                value = round_to_fp16(torch.from_numpy(np.ascontiguousarray(value))).numpy()
            self._arrays[var] = value

    def _working(self, value: Any) -> Any:
        """A constant with its floating-point numbers in the evaluation's dtype."""
        if _numeric(value) and np.issubdtype(value.dtype, np.floating):
            return value.astype(self.precision.numpy_dtype)
        return value


def _numeric(value: Any) -> bool:
    """Whether a constant is an array of numbers or truth values."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _is_parameter(op: Operation, key: str, var: Var) -> bool:
    """Whether an argument is documented to be constant, and its value at hand."""
    declared = getattr(op.input_spec.input_types[key], "const", False)
    return bool(declared) and var.val is not None


def _with_frees(block: BlockPlan, own: set[int]) -> BlockPlan:
    """The plan with what it reads, each own slot emptied after the step that last reads it."""
    alive, planned = set(block.outputs), []
    reads = set(block.outputs)
    for step in reversed(block.steps):
        used = {slot for _, slot in step.operands}
        used.update(slot for _, slots in step.groups for slot in slots)
        used.update(slot for inner in step.blocks for slot in inner.reads)
        made = {output.slot for output in step.outputs}
        last = ((used | made) & own) - alive
        planned.append(attrs.evolve(step, frees=tuple(sorted(last))))
        alive |= used
        reads |= used
    return attrs.evolve(block, steps=tuple(reversed(planned)), reads=frozenset(reads))
