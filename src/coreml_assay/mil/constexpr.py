"""The values that compressed constants stand for: the seven ``constexpr`` operations, in numpy.

Source: ``constexpr_ops`` of iOS16, ``compression`` of iOS18. Operands are constants, or results
of each other; integers arrive in any integer dtype that holds them, floating-point numbers in
the dtype of the evaluation, which is the dtype of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import types

from coreml_assay.mil.program import Operation
from coreml_assay.numerics.blocks import Array

Decompression = Callable[..., "Array | tuple[Array, Array]"]


def is_constexpr(operation: Operation) -> bool:
    """Whether an operation stands for a compressed constant."""
    return bool(operation.op_type.startswith("constexpr_"))


def materialize(operation: Operation) -> tuple[Array, ...]:
    """The values of a constexpr operation's outputs, in the outputs' dtypes.

    Inputs that are constexpr operations themselves, as in joint compression, are materialised
    first.

    Raises:
        ValueError: the operation is not one of the seven.
    """
    function = DECOMPRESSIONS.get(operation.op_type)
    if function is None:
        raise ValueError(
            f"{operation.op_type} (operation {operation.name}) is not a compressed constant; "
            f"known are {', '.join(DECOMPRESSIONS)}"
        )
    inputs = {name: _input_value(var) for name, var in operation.inputs.items() if var is not None}
    found = function(**inputs)
    outputs = found if isinstance(found, tuple) else (found,)
    return tuple(
        value.astype(types.nptype_from_builtin(var.dtype), copy=False)
        for value, var in zip(outputs, operation.outputs, strict=True)
    )


def _input_value(var: Any) -> Any:
    if var.op is not None and is_constexpr(var.op):
        return materialize(var.op)[var.op.outputs.index(var)]
    return var.val


def constexpr_affine_dequantize(
    *, quantized_data: Array, zero_point: Array, scale: Array, axis: Array
) -> Array:
    """``scale * (quantized_data - zero_point)``, scalars or vectors along the axis."""
    scale, zero_point = np.asarray(scale), np.asarray(zero_point)
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    s = scale.reshape(shape) if scale.ndim else scale
    z = zero_point.reshape(shape) if zero_point.ndim else zero_point
    restored: Array = s * (quantized_data.astype(s.dtype) - z.astype(s.dtype))
    return restored


def constexpr_blockwise_shift_scale(
    *, data: Array, scale: Array, offset: Array | None = None
) -> Array:
    """``scale * (data - offset)``, with the parameters of the block that an element lies in."""
    shifted = data.astype(scale.dtype)
    if offset is not None:
        shifted = shifted - _spread(offset.astype(scale.dtype), data.shape)
    restored: Array = _spread(scale, data.shape) * shifted
    return restored


def constexpr_sparse_blockwise_shift_scale(
    *, data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """The mask, and the data under it dequantized as it would be in its place."""
    kept = data_mask.astype(bool)
    shifted = nonzero_data.astype(scale.dtype)
    if offset is not None:
        shifted = shifted - _spread(offset.astype(scale.dtype), kept.shape)[kept]
    return data_mask, _spread(scale, kept.shape)[kept] * shifted


def constexpr_cast(*, source_val: Array, output_dtype: Array) -> Array:
    """The array, whose fp16 numbers the wider type holds unchanged."""
    return source_val


def constexpr_lut_to_dense(
    *,
    indices: Array,
    lut: Array,
    shape: Array | None = None,
    vector_axis: Array | None = None,
) -> Array:
    """The entries of a look-up table that indices name.

    With a shape (iOS16) the indices are packed, each in log2(len(lut)) bits. Without (iOS18) the
    table is [*groups, palettes, vector]; a vector longer than 1 runs along vector_axis.
    """
    if shape is not None:
        bits = int(np.log2(len(lut)))
        unpacked = _unpack(indices, bits, int(np.prod(shape)))
        dense: Array = lut[unpacked].reshape(shape)
        return dense
    vectors = _look_up(indices, lut)
    if vectors.shape[-1] == 1:
        return vectors[..., 0]
    return _along_axis(vectors, _axis(vector_axis, indices.ndim))


def constexpr_lut_to_sparse(
    *,
    indices_mask: Array,
    indices_nonzero_data: Array,
    lut: Array,
    vector_axis: Array | None = None,
) -> tuple[Array, Array]:
    """The mask, stretched along vector_axis, and the table's entries under it."""
    kept = indices_mask.astype(bool)
    indices = np.zeros(kept.shape, np.int64)
    indices[kept] = indices_nonzero_data
    vectors = _look_up(indices, lut)
    if vectors.shape[-1] == 1:
        return indices_mask, vectors[..., 0][kept]
    axis = _axis(vector_axis, kept.ndim)
    mask = np.repeat(indices_mask, vectors.shape[-1], axis)
    return mask, _along_axis(vectors, axis)[mask.astype(bool)]


def constexpr_sparse_to_dense(
    *, nonzero_data: Array, mask: Array, shape: Array | None = None
) -> Array:
    """The data where the mask is set, in row-major order, and 0 elsewhere.

    With a shape (iOS16) the mask is packed, one bit for each element; without (iOS18) it has the
    shape of the result.
    """
    if shape is not None:
        mask = _unpack(mask, 1, int(np.prod(shape))).reshape(shape)
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask.astype(bool)] = nonzero_data
    return dense


def _spread(parameters: Array, shape: tuple[int, ...]) -> Array:
    """Parameters of blocks repeated to the shape that the blocks make up."""
    for axis, (count, length) in enumerate(zip(parameters.shape, shape, strict=True)):
        if length % count:
            raise ValueError(f"axis {axis} of length {length} has no {count} equal blocks")
        if 1 < count < length:
            parameters = np.repeat(parameters, length // count, axis)
    return np.broadcast_to(parameters, shape)


def _unpack(packed: Array, bits: int, count: int) -> Array:
    """Numbers of so many bits, from bytes filled from their least significant bit on."""
    flat = np.unpackbits(packed.astype(np.uint8).reshape(-1), bitorder="little")
    digits = flat[: bits * count].reshape(count, bits).astype(np.int64)
    return digits @ (1 << np.arange(bits))


def _look_up(indices: Array, lut: Array) -> Array:
    """The vector that each index names in its group's table, [*indices, vector]."""
    groups = lut.shape[:-2]
    where = np.indices(indices.shape)
    group = tuple(
        place * count // length
        for place, count, length in zip(where, groups, indices.shape, strict=True)
    )
    entry = (*group, indices.astype(np.int64))
    found: Array = lut[entry]
    return found


def _axis(vector_axis: Array | None, rank: int) -> int:
    """The axis that vectors run along, counted from the front."""
    if vector_axis is None:
        raise ValueError("vectors longer than 1 need a vector_axis")
    return int(vector_axis) % rank


def _along_axis(vectors: Array, axis: int) -> Array:
    """[*shape, vector] with the vectors laid out along one axis of the shape."""
    shape = list(vectors.shape[:-1])
    shape[axis] *= vectors.shape[-1]
    return np.moveaxis(vectors, -1, axis + 1).reshape(shape)


DECOMPRESSIONS: dict[str, Decompression] = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "constexpr_lut_to_sparse": constexpr_lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": constexpr_sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": constexpr_sparse_to_dense,
}
