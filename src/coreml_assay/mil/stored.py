"""How a program stores its weights: as they are, or as codes with a scale."""

from __future__ import annotations

import attrs
import numpy as np

from coreml_assay.mil.constexpr import is_constexpr, materialize
from coreml_assay.mil.program import Operation, Program, all_operations
from coreml_assay.numerics.blocks import Array

_CODES = {
    "constexpr_affine_dequantize": ("quantized_data", "zero_point"),
    "constexpr_blockwise_shift_scale": ("data", "offset"),
}


@attrs.frozen(eq=False)
class StoredWeight:
    """A weight as a program stores it.

    Attributes:
        name: of the weight before it was quantized.
        op_type: "const", or the constexpr op that stands for it.
        values: what it stands for.
        codes, scale, zero_point: of a linearly quantized weight, else None; scale and zero point
            have the weight's rank, whatever the op stores.
        axis: the op's axis, for ops that have one.
    """

    name: str
    op_type: str
    values: Array
    codes: Array | None = None
    scale: Array | None = None
    zero_point: Array | None = None
    axis: int | None = None

    @property
    def is_quantized(self) -> bool:
        """Whether codes stand for the weight."""
        return self.codes is not None


def stored_weights(program: Program) -> dict[str, StoredWeight]:
    """All constants of a program, compressed or not, by the name they had before.

    Constants that are part of a compressed one are not listed on their own.
    """
    found = [
        _stored(operation)
        for function in program.functions.values()
        for operation in all_operations(function)
        if is_constexpr(operation) or _is_plain_constant(operation)
    ]
    return {weight.name: weight for weight in found}


def _is_plain_constant(operation: Operation) -> bool:
    if operation.op_type != "const" or not isinstance(operation.outputs[0].val, np.ndarray):
        return False
    return not any(is_constexpr(child) for child in operation.outputs[0].child_ops)


def _stored(operation: Operation) -> StoredWeight:
    name = operation.name.removesuffix("_quantized")
    if not is_constexpr(operation):
        return StoredWeight(name, "const", operation.outputs[0].val)
    values = materialize(operation)[-1]  # the mask of a sparse constant comes first
    if operation.op_type not in _CODES:
        return StoredWeight(name, operation.op_type, values)
    data, offset = _CODES[operation.op_type]
    axis = int(operation.axis.val) if data == "quantized_data" else None
    zero_point = operation.inputs.get(offset)
    return StoredWeight(
        name,
        operation.op_type,
        values,
        codes=operation.inputs[data].val,
        scale=_at_rank(operation.scale.val, values.ndim, axis),
        zero_point=None if zero_point is None else _at_rank(zero_point.val, values.ndim, axis),
        axis=axis,
    )


def _at_rank(parameter: Array, rank: int, axis: int | None) -> Array:
    """A parameter with the weight's rank: vectors lie along the axis, scalars along none."""
    if parameter is None or np.ndim(parameter) == rank:
        return parameter
    shape = [1] * rank
    if np.ndim(parameter) == 1 and axis is not None:
        shape[axis] = np.size(parameter)
    return np.asarray(parameter).reshape(shape)
