"""Which configuration a weight gets, and which of its axes are output and input channels."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from typing import NamedTuple

from coreml_assay.mil.constexpr import is_constexpr
from coreml_assay.mil.program import Operation, Program, all_operations
from coreml_assay.optimize.coreml.config import OpCompressorConfig, OptimizationConfig
from coreml_assay.optimize.coreml.report import CompressionReport

logger = logging.getLogger(__name__)


class ChannelAxes(NamedTuple):
    """The axes along which a weight's output and input channels lie."""

    output: int
    input: int


class ConfigConflictError(ValueError):
    """Two consumers of one weight are configured differently."""


def config_of_constant(
    config: OptimizationConfig,
    constant: Operation,
    matters: Callable[[OpCompressorConfig], bool],
) -> OpCompressorConfig | None:
    """The configuration of a weight: by its own name, else by the ops that consume it.

    Args:
        config: the whole configuration.
        constant: a const op.
        matters: whether a configuration would compress the weight at all; consumers may disagree
            on a weight that none of their configurations touches.

    Raises:
        ConfigConflictError: the consumers' configurations differ, and it matters.
        ValueError: the configuration names the op type "const".
    """
    if "const" in config.op_type_configs:
        raise ValueError(
            "const ops cannot be set by the `set_op_type` function. Please use `set_global`"
        )
    if constant.name in config.op_name_configs:
        return config.op_name_configs[constant.name]
    consumers = final_consumers(constant)
    found = [config_of_operation(config, consumer) for consumer in consumers]
    if not found:
        return None
    for consumer, other in zip(consumers, found, strict=True):
        if other == found[0]:
            continue
        if any(entry is not None and matters(entry) for entry in (other, found[0])):
            raise ConfigConflictError(
                f"compression config conflict detected between ops {consumers[0].name} and "
                f"{consumer.name}, which share the weight {constant.name}: give the weight a "
                "configuration of its own by name, or both ops the same"
            )
    return found[0]


def final_consumers(operation: Operation) -> list[Operation]:
    """The ops that use a weight; those it reaches through constexpr ops, if all its users are."""
    consumers = [child for var in operation.outputs for child in var.child_ops]
    if consumers and all(is_constexpr(child) for child in consumers):
        return final_consumers(consumers[0])
    return consumers


def config_of_operation(
    config: OptimizationConfig, operation: Operation
) -> OpCompressorConfig | None:
    """The configuration of an op: by its name, else by its type, else the global one."""
    if operation.name in config.op_name_configs:
        return config.op_name_configs[operation.name]
    return config.op_type_configs.get(operation.op_type, config.global_config)


def channel_axes(constant: Operation) -> ChannelAxes | None:
    """A weight's channel axes, or None where its consumers disagree on them.

    Source: API reference of ``OpLinearQuantizerConfig``, "The axes are picked by the op".
    """
    var = constant.outputs[0]
    found = {_channel_axes_for(consumer, var) for consumer in var.child_ops}
    return found.pop() if len(found) == 1 else None


def _channel_axes_for(consumer: Operation, var: object) -> ChannelAxes | None:
    if consumer.op_type == "conv_transpose":
        return ChannelAxes(output=1, input=0)
    if consumer.op_type == "matmul":
        return _matmul_axes(consumer, var)
    if is_constexpr(consumer):
        return channel_axes(consumer)
    return ChannelAxes(output=0, input=1)


def _matmul_axes(consumer: Operation, var: object) -> ChannelAxes:
    """The last two axes: in x @ y, output channels are the rows of x and the columns of y."""
    is_y = consumer.y is var
    weight = consumer.y if is_y else consumer.x
    transposed = bool((consumer.transpose_y if is_y else consumer.transpose_x).val)
    rows, columns = weight.rank - 2, weight.rank - 1
    outputs_are_columns = is_y != transposed
    return ChannelAxes(columns, rows) if outputs_are_columns else ChannelAxes(rows, columns)


def unmatched_names(config: OptimizationConfig, program: Program) -> dict[str, str | None]:
    """Names and op types of a configuration that the program lacks, to the nearest it has."""
    operations = [op for function in program.functions.values() for op in all_operations(function)]
    names = [operation.name for operation in operations]
    op_types = [operation.op_type for operation in operations]
    return {
        **_missing(list(config.op_name_configs), names),
        **_missing(list(config.op_type_configs), op_types),
    }


def report_unmatched(
    config: OptimizationConfig, program: Program, report: CompressionReport
) -> None:
    """Put into the report, and log, what a configuration names and the program lacks."""
    report.unmatched.update(unmatched_names(config, program))
    for name, near in report.unmatched.items():
        hint = f"; the nearest is {near!r}" if near else ""
        logger.warning("the configuration names %r, which the model does not have%s", name, hint)


def _missing(wanted: list[str], existing: list[str]) -> dict[str, str | None]:
    known = set(existing)
    missing = {}
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            missing[name] = near[0] if near else None
    return missing
