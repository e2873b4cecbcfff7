"""Linear quantization of the weights of an ML program, and the way back."""

from __future__ import annotations

import logging
from collections import deque

from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.mil.constexpr import is_constexpr, materialize
from coreml_assay.mil.program import (
    IOS16,
    IOS18,
    Block,
    Model,
    build_model,
    load_program,
    replace_operation,
)
from coreml_assay.optimize.coreml.config import OptimizationConfig, check_linear
from coreml_assay.optimize.coreml.report import CompressionReport
from coreml_assay.optimize.coreml.selection import report_unmatched
from coreml_assay.optimize.coreml.transform import SkipWeight, WeightQuantizer, since_ios18

logger = logging.getLogger(__name__)


def linear_quantize_weights(
    mlmodel: Model,
    config: OptimizationConfig,
    joint_compression: bool = False,
    *,
    report: CompressionReport | None = None,
) -> Model:
    """Replace float weights by integer codes with a scale, and a zero point where needed.

    Source: API reference of ``coremltools.optimize.coreml.linear_quantize_weights``.

    Args:
        mlmodel: an ``MLModel`` of type mlprogram with one function; it is not changed.
        config: which weights, and how.
        joint_compression: also quantize the look-up tables of palettized weights and the nonzero
            values of sparse ones (iOS18 or newer).
        report: filled in with what was compressed, what was not and why.

    Returns:
        A new ``MLModel`` for iOS16 or newer.

    Raises:
        TypeError: ``mlmodel`` is not an ML program.
        ValueError: a wrong argument; several functions; a configuration for another kind of
            compression; consumers of a weight that are configured differently; blocks, 4 bits or
            joint compression in a model older than iOS18; a block size sequence whose length is
            not the weight's rank.
        NotImplementedError: joint compression of a look-up table other than per tensor.
    """
    check_linear(config, "linear_quantize_weights")
    if not isinstance(joint_compression, bool):
        raise ValueError(f"joint_compression must be True or False, got {joint_compression!r}")
    report = CompressionReport() if report is None else report
    program = load_program(mlmodel, at_least=IOS16)
    report_unmatched(config, program, report)
    for function in program.functions.values():
        version = function.opset_version.value
        if joint_compression and version < IOS18:
            raise ValueError(since_ios18("Joint compression is only"))
        _quantize_block(function, WeightQuantizer(config, joint_compression, version), report)
    return build_model(program, like=mlmodel, at_least=IOS16)


def decompress_weights(mlmodel: Model) -> Model:
    """Replace every compressed constant by the values it stands for.

    Source: API reference of ``coremltools.optimize.coreml.decompress_weights``.

    Args:
        mlmodel: an ``MLModel`` of type mlprogram with one function; it is not changed.

    Returns:
        A new ``MLModel`` without constexpr ops.

    Raises:
        TypeError: ``mlmodel`` is not an ML program.
        ValueError: it has several functions.
    """
    program = load_program(mlmodel, at_least=IOS16)
    for function in program.functions.values():
        _decompress_block(function)
    return build_model(program, like=mlmodel, at_least=IOS16)


def _quantize_block(block: Block, quantizer: WeightQuantizer, report: CompressionReport) -> None:
    with block:
        pending = deque(block.operations)
        while pending:  # not a loop over a list, which would keep every replaced weight alive
            operation = pending.popleft()
            for inner in operation.blocks:
                _quantize_block(inner, quantizer, report)
            try:
                if quantizer.is_candidate(operation):
                    report.compressed[operation.name] = quantizer.quantize(operation)
            except SkipWeight as skip:
                report.skipped[operation.name] = str(skip)
                logger.info("%s is not quantized: %s", operation.name, skip)


def _decompress_block(block: Block) -> None:
    with block:
        for operation in list(block.operations):
            for inner in operation.blocks:
                _decompress_block(inner)
            if is_constexpr(operation):
                values = [
                    mb.const(val=value, before_op=operation, name=var.name)
                    for value, var in zip(materialize(operation), operation.outputs, strict=True)
                ]
                replace_operation(operation, values)
