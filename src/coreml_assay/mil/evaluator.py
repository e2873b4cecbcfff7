"""Evaluates ML programs over torch, on any machine.

It computes what the operations' documentation says, in one of three precisions. It is no model
of a particular processor: what the Neural Engine makes of the same program differs in rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy.typing as npt
import torch
from coremltools.converters.mil.mil import Program, types

from coreml_assay.mil.errors import EvaluationError
from coreml_assay.mil.inputs import InputType, check_inputs, check_names
from coreml_assay.mil.ops.control_flow import StateCell
from coreml_assay.mil.plan import BlockPlan, Step, plan_function
from coreml_assay.mil.precision import Precision, round_to_fp16

Tap = Callable[[str, torch.Tensor], None]
State = dict[str, StateCell]

_Watch = Callable[[str, Any], None]


class Evaluator:
    """A function of an ML program, ready to be run any number of times.

    Constants are converted, compressed weights decompressed and the order of freeing worked out
    here; running neither changes the program nor reads it again. Equal inputs give equal results
    on one machine with one number of torch threads, but for random operations without a seed.

    Args:
        program: PyMIL, of any opset from iOS15 to iOS18.
        precision: of all floating-point arithmetic.
        function: which function of the program.

    Attributes:
        inputs: name to type of what the function takes.
        states: name to type of the states that it reads and updates.
        outputs: names of what it returns.
        values: names of everything that it computes and that can be tapped, loop variables
            included.

    Raises:
        UnsupportedOperation: the function holds an operation that is not known.
        EvaluationError: a compressed weight cannot be decompressed.
        ValueError: the program has no such function.
    """

    def __init__(
        self,
        program: Program,
        precision: Precision = Precision.FLOAT32,
        function: str = "main",
    ) -> None:
        check_names([function], program.functions, "function")
        source = program.functions[function]
        self._precision = precision
        self._plan = plan_function(source, function, precision)
        states = {n for n, var in source.inputs.items() if types.is_state(var.sym_type)}
        all_types = {name: InputType.of(var) for name, var in source.inputs.items()}
        self.inputs = {name: t for name, t in all_types.items() if name not in states}
        self.states = {name: t for name, t in all_types.items() if name in states}
        self.outputs = tuple(var.name for var in source.outputs)
        self.values = self._plan.names
        self._order = tuple(source.inputs)

    def make_state(self) -> State:
        """New states, every element 0, to be passed to as many runs as are to share them.

        Raises:
            ValueError: a state has no fixed shape.
        """
        return {name: StateCell(t.zeros(self._precision)) for name, t in self.states.items()}

    def predict(
        self, inputs: Mapping[str, npt.ArrayLike], state: State | None = None
    ) -> dict[str, Any]:
        """Run the function on arrays.

        Args:
            inputs: an array for each input: of its shape, and floating-point, integer or boolean
                as its type is.
            state: from `make_state`, read and updated; by default new ones.

        Returns:
            A numpy array for each output, floating-point ones in the dtype that the precision
            computes in. Of a classifier, the label and a dictionary of probabilities.

        Raises:
            ValueError: an input is missing, unknown, or of another shape or kind.
            EvaluationError: an operation cannot be carried out.
        """
        results = self.run(inputs, state=state)
        return {
            # A copy, since the tensor may also be a constant, a state or another output.
            name: value.numpy().copy() if isinstance(value, torch.Tensor) else value
            for name, value in results.items()
        }

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        tap: Tap | None = None,
        taps: Collection[str] | None = None,
        state: State | None = None,
    ) -> dict[str, Any]:
        """Run the function and show what it computes on the way.

        Args:
            inputs: as in `predict`.
            tap: called with the name of a value and its tensor, which it must not change, as
                soon as the value is computed; in a loop, each time. Inputs come first.
            taps: names of the values to show; by default all, inputs included.
            state: as in `predict`.

        Returns:
            A tensor for each output; of a classifier, the label and a dictionary.

        Raises:
            ValueError: as in `predict`, or a name in taps is not known.
            EvaluationError: an operation cannot be carried out.
        """
        check_inputs(inputs, self.inputs)
        watch = _watcher(tap, taps, {*self.inputs, *self.values})
        cells = self._cells(state)
        arguments = []
        for name in self._order:
            if name in cells:
                arguments.append(cells[name])
                continue
            arguments.append(self.inputs[name].tensor(inputs[name], self._precision))
        with torch.inference_mode():
            values = _run(self._plan.body, list(self._plan.slots), watch, *arguments)
        return dict(zip(self.outputs, values, strict=True))

    def _cells(self, state: State | None) -> State:
        """The states to run on."""
        if state is None:
            return self.make_state()
        check_names(state, self.states, "state")
        missing = [name for name in self.states if name not in state]
        if missing:
            raise ValueError(f"missing state {missing[0]!r}")
        return state


def _watcher(
    tap: Tap | None, taps: Collection[str] | None, known: Collection[str]
) -> _Watch | None:
    """What is to be told of each value, None if nobody wants to know."""
    check_names(taps or (), known, "value")
    if tap is None:
        return None
    wanted = known if taps is None else frozenset(taps)

    def watch(name: str, value: Any) -> None:
        if name in wanted and isinstance(value, torch.Tensor):
            tap(name, value)

    return watch


def _run(
    block: BlockPlan, slots: list[Any], watch: _Watch | None, *arguments: Any
) -> tuple[Any, ...]:
    """Run a block on the slots that it shares with the blocks around it."""
    for slot, name, argument in zip(block.inputs, block.input_names, arguments, strict=True):
        slots[slot] = argument
        if watch:
            watch(name, argument)
    for step in block.steps:
        results = _results(step, slots, watch)
        for output, value in zip(step.outputs, results, strict=True):
            if isinstance(value, torch.Tensor):
                if value.dtype is not output.dtype:
                    value = value.to(output.dtype)
                if output.rounds:
                    value = round_to_fp16(value)
            slots[output.slot] = value
            if watch:
                watch(output.name, value)
        for slot in step.frees:
            slots[slot] = None
    return tuple(slots[slot] for slot in block.outputs)


def _results(step: Step, slots: list[Any], watch: _Watch | None) -> tuple[Any, ...]:
    """What a step's function returns, one value for each output."""
    arguments = dict(step.parameters)
    for key, slot in step.operands:
        arguments[key] = slots[slot]
    for key, group in step.groups:
        arguments[key] = tuple([slots[slot] for slot in group])
    if step.blocks:
        arguments["blocks"] = tuple(partial(_run, block, slots, watch) for block in step.blocks)
    try:
        result = step.function(**arguments)
        values = result if isinstance(result, tuple) else (result,)
        if len(values) != len(step.outputs):
            raise ValueError(f"{len(values)} results for {len(step.outputs)} outputs")
    except EvaluationError:
        raise
    except Exception as error:
        raise EvaluationError(step.op_type, step.name, step.place, error) from error
    return values
