"""Quantize/dequantize pairs around the ops of a program: before them, after them, and tidied up.

A pair stands for a tensor held in 8 bits: it rounds the tensor to codes and back. Where the pairs
go, and how they are named, is as in coremltools 9.0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from coreml_assay.mil.constexpr import is_constexpr
from coreml_assay.mil.program import Block, Operation, Program, all_operations
from coreml_assay.numerics import Grid, QuantizationParameters, choose_qparams, per_tensor
from coreml_assay.numerics.affine import block_range, out_of_precision
from coreml_assay.optimize.coreml.calibration import TensorRange
from coreml_assay.optimize.coreml.config import OpLinearQuantizerConfig, OptimizationConfig
from coreml_assay.optimize.coreml.report import CompressionReport, QuantizedActivations
from coreml_assay.optimize.coreml.selection import config_of_operation

# The ops whose inputs are quantized, and which inputs those are.
QUANTIZABLE = {
    "add": ("x", "y"),
    "avg_pool": ("x",),
    "conv": ("x",),
    "linear": ("x",),
    "max_pool": ("x",),
}
# The ops that are computed together with the one before them, so that no pair comes between.
FUSED_ACTIVATIONS = frozenset({"leaky_relu", "relu", "relu6", "scaled_tanh", "sigmoid", "tanh"})


class SkipOperation(Exception):  # noqa: N818 - not an error: the op is left as it is
    """The activations of an op are left as they are; the message is the reason."""


def tensors_to_calibrate(program: Program) -> set[str]:
    """Names of the tensors whose ranges `quantize_activations` may ask for."""
    return {
        var.name
        for function in program.functions.values()
        for operation in all_operations(function)
        for var in _tensors_around(operation)
        if not _is_constant(var) and types.is_float(var.dtype)
    }


def _tensors_around(operation: Operation) -> list[Any]:
    if operation.op_type in FUSED_ACTIVATIONS:
        return list(operation.outputs)
    inputs = QUANTIZABLE.get(operation.op_type)
    return (
        [] if inputs is None else [*(operation.inputs[key] for key in inputs), *operation.outputs]
    )


def quantize_activations(
    program: Program,
    config: OptimizationConfig,
    ranges: Mapping[str, TensorRange],
    report: CompressionReport,
) -> None:
    """Put quantize/dequantize pairs into a program, in place.

    Args:
        program: for iOS17 or newer.
        config: which ops, and how.
        ranges: of every tensor that `tensors_to_calibrate` names, as far as known.
        report: filled in with what was quantized, what was not and why.
    """
    pairs = _Pairs(config, ranges, report, _free_names(program))
    for step in (pairs.before, pairs.after, _cancel_pairs):
        for function in program.functions.values():
            for block in _blocks(function):
                with block:
                    step(block)


def _blocks(block: Block) -> Iterator[Block]:
    """A block and the blocks inside its operations, innermost first."""
    for operation in list(block.operations):
        for inner in operation.blocks:
            yield from _blocks(inner)
    yield block


def _free_names(program: Program) -> dict[str, Iterator[str]]:
    """For each of the two op types the names that no op or tensor of the program bears."""
    taken = set()
    for function in program.functions.values():
        taken.update(function.inputs)
        for operation in all_operations(function):
            taken.update({operation.name, *(var.name for var in operation.outputs)})
    return {op_type: _numbered(op_type, taken) for op_type in ("quantize", "dequantize")}


def _numbered(op_type: str, taken: set[str]) -> Iterator[str]:
    numbered = (f"{op_type}_{i}" for i in itertools.count())
    return (name for name in numbered if name not in taken)


@attrs.frozen
class _Pairs:
    """Puts pairs where they belong.

    Attributes:
        config: the whole configuration.
        ranges: tensor name to range.
        report: of what was done.
        names: for each op type the next free ones.
    """

    config: OptimizationConfig
    ranges: Mapping[str, TensorRange]
    report: CompressionReport
    names: dict[str, Iterator[str]]

    def before(self, block: Block) -> None:
        """Give each quantizable op pairs of its own on its inputs."""
        for operation in list(block.operations):
            if operation.op_type not in QUANTIZABLE:
                continue
            try:
                self._quantize_inputs(operation)
            except SkipOperation as skip:
                self.report.activations_skipped[operation.name] = str(skip)

    def after(self, block: Block) -> None:
        """Put a pair after each quantized op, or after the activation fused with it."""
        operations = list(block.operations)
        followers = dict(itertools.pairwise(operations))
        for operation in operations:
            core = _quantized_op_after(operation)
            config = core and config_of_operation(self.config, core)
            if core is None or config is None:
                continue
            last = _last_of_pattern(core)
            if last is not None:
                self._quantize_output(core, last, followers[last], config)

    def _quantize_inputs(self, operation: Operation) -> None:
        config = config_of_operation(self.config, operation)
        if config is None:
            raise SkipOperation("no configuration applies to it")
        config = cast(OpLinearQuantizerConfig, config)
        keys = QUANTIZABLE[operation.op_type]
        ranges = {key: self._usable_range(key, operation.inputs[key]) for key in keys}
        for key, tensor_range in ranges.items():
            var = operation.inputs[key]
            parameters = activation_parameters(tensor_range, config.grid, var)
            restored = self._pair(var, parameters, config.grid, operation)
            operation.set_inputs(**{key: restored})
            self._record(operation, config, var.name)

    def _usable_range(self, key: str, var: Any) -> TensorRange:
        """The range of an op's input.

        Raises:
            SkipOperation: the input is not to be quantized.
        """
        if _is_constant(var):
            raise SkipOperation(f"its input {key} is constant")
        if not types.is_float(var.dtype):
            raise SkipOperation(
                f"its input {key} holds no floating-point numbers "
                f"({types.builtin_to_string(var.dtype)})"
            )
        if var.name not in self.ranges:
            raise SkipOperation(f"calibration saw no value of its input {var.name}")
        if not self.ranges[var.name].is_finite:
            raise SkipOperation(f"calibration saw NaN or infinity in its input {var.name}")
        return self.ranges[var.name]

    def _quantize_output(
        self, core: Operation, last: Operation, follower: Operation, config: Any
    ) -> None:
        var = last.outputs[0]
        tensor_range = self.ranges.get(var.name)
        if tensor_range is None or not tensor_range.is_finite:
            return
        consumers = list(dict.fromkeys(var.child_ops))
        parameters = activation_parameters(tensor_range, config.grid, var)
        if parameters.zero_point is None:
            parameters = attrs.evolve(parameters, zero_point=np.int8(0))
        restored = self._pair(var, parameters, config.grid, follower)
        restored.set_name(f"{restored.name}__post__dequant")
        for consumer in consumers:
            _replace_inputs(consumer, var, restored)
        self._record(core, config, var.name)

    def _pair(
        self, var: Any, parameters: QuantizationParameters, grid: Grid, before: Operation
    ) -> Any:
        """Write a pair, and return what it makes of a tensor."""
        name = next(self.names["quantize"])
        codes = mb.quantize(
            input=var,
            output_dtype=mb.const(val=grid.name, name=f"{name}_output_dtype_0", before_op=before),
            before_op=before,
            name=name,
            **_constants(parameters, name, before),
        )
        name = next(self.names["dequantize"])
        return mb.dequantize(
            input=codes, before_op=before, name=name, **_constants(parameters, name, before)
        )

    def _record(self, operation: Operation, config: OpLinearQuantizerConfig, name: str) -> None:
        found = self.ranges[name]
        entry = self.report.activations.setdefault(
            operation.name, QuantizedActivations(operation.op_type, config.grid.name, config.mode)
        )
        entry.ranges[name] = (found.low, found.high)


def activation_parameters(
    tensor_range: TensorRange, grid: Grid, var: Any
) -> QuantizationParameters:
    """Scale and zero point of a tensor, by the formulas for weights on its range.

    The arithmetic is float32, wider only for a range that float32 cannot hold the width of. A
    tensor of zeros alone has scale 1.

    Args:
        tensor_range: finite.
        grid: 8 bits wide.
        var: the tensor, of a floating-point type.

    Returns:
        Scalars: the scale positive and finite in the tensor's dtype.
    """
    ends = np.array([tensor_range.low, tensor_range.high], np.float32)
    low, high = block_range(ends, grid, per_tensor(1))
    working = np.float64 if out_of_precision(low, high, grid).any() else np.float32
    parameters = choose_qparams(ends, grid, per_tensor(1), working)
    dtype = types.nptype_from_builtin(var.dtype)
    limits = np.finfo(dtype)
    scale = np.clip(parameters.scale[0], limits.smallest_subnormal, limits.max).astype(dtype)
    if not parameters.scale[0]:
        scale = dtype(1)
    zero_point = parameters.zero_point
    return QuantizationParameters(scale, None if zero_point is None else zero_point[0])


def _constants(parameters: QuantizationParameters, name: str, before: Operation) -> dict[str, Any]:
    """Scale and zero point as constants, named after the op that takes them."""
    values = {"scale": parameters.scale, "zero_point": parameters.zero_point}
    return {
        key: mb.const(val=value, name=f"{name}_{key}_0", before_op=before)
        for key, value in values.items()
        if value is not None
    }


def _is_constant(var: Any) -> bool:
    return var.op is not None and (var.op.op_type == "const" or is_constexpr(var.op))


def _quantized_op_after(dequantize: Operation) -> Operation | None:
    """The quantizable op that alone consumes a dequantized tensor, all its inputs being such."""
    if dequantize.op_type != "dequantize":
        return None
    core = _only_consumer(dequantize)
    if core is None or core.op_type not in QUANTIZABLE:
        return None
    if core.enclosing_block is not dequantize.enclosing_block:
        return None
    sources = [core.inputs[key].op for key in QUANTIZABLE[core.op_type]]
    if core.op_type == "add" and any(
        source is None or source.op_type != "dequantize" for source in sources
    ):
        return None
    return core


def _last_of_pattern(core: Operation) -> Operation | None:
    """The op after which a pair belongs: a quantized op or the activation fused with it.

    None where nothing consumes the result, or a pair is there already.
    """
    if not core.outputs[0].child_ops or _is_quantized(core):
        return None
    first = core.outputs[0].child_ops[0]
    fused = (
        first.op_type in FUSED_ACTIVATIONS
        and first.enclosing_block is core.enclosing_block
        and first.outputs[0].child_ops
    )
    if not fused:
        return core
    return None if _is_quantized(first) else first


def _is_quantized(operation: Operation) -> bool:
    """Whether a quantize op alone consumes an op's result."""
    consumer = _only_consumer(operation)
    return consumer is not None and consumer.op_type == "quantize"


def _only_consumer(operation: Operation) -> Operation | None:
    consumers = operation.outputs[0].child_ops
    return consumers[0] if len(consumers) == 1 else None


def _replace_inputs(operation: Operation, old: Any, new: Any) -> None:
    """Let an op take another tensor wherever it takes the old one."""

    def replaced(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(replaced(item) for item in value)
        return new if value is old else value

    operation.set_inputs(
        **{key: replaced(value) for key, value in operation.inputs.items() if value is not None}
    )


def _cancel_pairs(block: Block) -> None:
    """Remove each quantize op that merely restores the codes its dequantize op came from."""
    for operation in list(block.operations):
        if operation.op_type != "dequantize" or operation.outputs[0] in block.outputs:
            continue
        for consumer in list(dict.fromkeys(operation.outputs[0].child_ops)):
            if _restores_codes(operation, consumer):
                for user in list(dict.fromkeys(consumer.outputs[0].child_ops)):
                    _replace_inputs(user, consumer.outputs[0], operation.input)
                consumer.enclosing_block.remove_ops([consumer])
        if not operation.outputs[0].child_ops:
            block.remove_ops([operation])


def _restores_codes(dequantize: Operation, consumer: Operation) -> bool:
    return (
        consumer.op_type == "quantize"
        and consumer.outputs[0] not in consumer.enclosing_block.outputs
        and consumer.outputs[0].dtype == dequantize.input.dtype
        and all(
            np.array_equal(_value(dequantize, key), _value(consumer, key))
            for key in ("scale", "zero_point", "axis")
        )
    )


def _value(operation: Operation, key: str) -> Any:
    """The value of a parameter; an absent zero point is 0."""
    var = operation.inputs.get(key)
    if var is None:
        return 0 if key == "zero_point" else None
    return var.val
