"""What is known about the weights of an ML program: values, sparsity, and who consumes them."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from coreml_assay.mil.program import IOS16, Block, Model, Operation, load_program
from coreml_assay.numerics.blocks import Array

_ZERO = 1e-12  # magnitudes up to this count as zero


@attrs.frozen
class CoreMLOpMetaData:
    """An op that consumes a weight.

    Attributes:
        op_type: for example "conv".
        name: of the op.
        params_name_mapping: the op's input name to the name of the weight it takes there.
    """

    op_type: str
    name: str
    params_name_mapping: dict[str, str]

    def __str__(self) -> str:
        """The op as a call, for example ``conv(name=conv_1, weight=w, ...)``."""
        weights = "".join(f", {key}={name}" for key, name in self.params_name_mapping.items())
        return f"{self.op_type}(name={self.name}{weights}, ...)"


@attrs.frozen(eq=False)
class CoreMLWeightMetaData:
    """A weight.

    Attributes:
        val: its values.
        sparsity: the share, 0 to 1, of elements whose magnitude is at most 1e-12.
        unique_values: how many different values it holds.
        child_ops: the ops that consume it.
    """

    val: Array
    sparsity: float = attrs.field()
    unique_values: int = attrs.field()
    child_ops: list[CoreMLOpMetaData] | None = None

    @sparsity.default
    def _count_zeros(self) -> float:
        return float(np.mean(np.abs(self.val) <= _ZERO)) if self.val.size else 0.0

    @unique_values.default
    def _count_values(self) -> int:
        return len(np.unique(self.val))

    def __str__(self) -> str:
        """Shape, dtype and figures, one a line."""
        lines = [
            "[",
            f"  val: np.ndarray(shape={self.val.shape}, dtype={self.val.dtype})",
            f"  sparsity: {self.sparsity}",
            f"  unique_values: {self.unique_values}",
        ]
        if self.child_ops is not None:
            lines += ["  child_ops: [", *(f"    {child}" for child in self.child_ops), "  ]"]
        return "\n".join([*lines, "]"])


class _WeightsMetadata(dict[str, CoreMLWeightMetaData]):
    """The metadata by weight name, in program order; prints readably."""

    def __str__(self) -> str:
        return "".join(f"{name}\n{weight}\n" for name, weight in self.items())


def get_weights_metadata(
    mlmodel: Model, weight_threshold: int = 2048
) -> dict[str, CoreMLWeightMetaData]:
    """Describe the weights with more than ``weight_threshold`` elements.

    Source: API reference of ``coremltools.optimize.coreml.get_weights_metadata``.

    Args:
        mlmodel: an ``MLModel`` of type mlprogram with one function.
        weight_threshold: weights with no more elements than this are left out.

    Returns:
        Name of the constant to its metadata, in program order.

    Raises:
        TypeError: ``mlmodel`` is not an ML program.
        ValueError: it has several functions, or the threshold is not a non-negative integer.
    """
    if not isinstance(weight_threshold, int) or weight_threshold < 0:
        raise ValueError(
            f"weight_threshold must be a non-negative integer, got {weight_threshold!r}"
        )
    found = _WeightsMetadata()
    for function in load_program(mlmodel, at_least=IOS16).functions.values():
        _collect(function, weight_threshold, found)
    return found


def _collect(block: Block, threshold: int, found: _WeightsMetadata) -> None:
    for operation in block.operations:
        for inner in operation.blocks:
            _collect(inner, threshold, found)
        if operation.op_type == "const" and _exceeds(operation.outputs[0], threshold):
            children = list(dict.fromkeys(operation.outputs[0].child_ops))
            found[operation.name] = CoreMLWeightMetaData(
                operation.outputs[0].val,
                child_ops=[_describe_consumer(child, threshold) for child in children],
            )


def _describe_consumer(operation: Operation, threshold: int) -> CoreMLOpMetaData:
    weights = {
        name: var.op.name
        for name, var in operation.inputs.items()
        if not isinstance(var, (list, tuple)) and var is not None and _exceeds(var, threshold)
    }
    return CoreMLOpMetaData(operation.op_type, operation.name, weights)


def _exceeds(var: Any, threshold: int) -> bool:
    is_constant = var.op is not None and var.op.op_type == "const"
    return is_constant and isinstance(var.val, np.ndarray) and var.val.size > threshold
