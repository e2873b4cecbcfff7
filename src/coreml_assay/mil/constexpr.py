"""The values that compressed constants stand for: the seven ``constexpr`` operations, in numpy.

Each function reads like the operation's documentation. Operations that exist both for iOS16 and
for iOS18 are told apart by their inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from coreml_assay.mil.program import Operation
from coreml_assay.numerics import QuantizationParameters, dequantize
from coreml_assay.numerics.blocks import Array

Inputs = dict[str, Any]  # input name -> array, numpy scalar or string; absent ones left out


def is_constexpr(operation: Operation) -> bool:
    """Whether an operation stands for a compressed constant."""
    return bool(operation.op_type.startswith("constexpr_"))


def materialize(operation: Operation) -> tuple[Array, ...]:
    """The values of a constexpr operation's outputs.

    Inputs that are constexpr operations themselves, as in joint compression, are materialised
    first.

    Raises:
        ValueError: the operation is not one of the seven.
    """
    function = _FUNCTIONS.get(operation.op_type)
    if function is None:
        raise ValueError(
            f"{operation.op_type} (operation {operation.name}) is not a compressed constant; "
            f"known are {', '.join(_FUNCTIONS)}"
        )
    inputs = {name: _input_value(var) for name, var in operation.inputs.items() if var is not None}
    outputs = function(inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _input_value(var: Any) -> Any:
    if var.op is not None and is_constexpr(var.op):
        return materialize(var.op)[var.op.outputs.index(var)]
    return var.val


def _affine_dequantize(inputs: Inputs) -> Array:
    """(quantized_data - zero_point) * scale, with parameters along one axis (iOS16)."""
    data = inputs["quantized_data"]
    along = [1] * data.ndim
    along[int(inputs["axis"])] = data.shape[int(inputs["axis"])]
    scale, zero_point = (
        np.broadcast_to(parameter.reshape(along if parameter.ndim else [1] * data.ndim), along)
        for parameter in (np.asarray(inputs["scale"]), np.asarray(inputs["zero_point"]))
    )
    return _dequantize(data, scale, zero_point)


def _blockwise_shift_scale(inputs: Inputs) -> Array:
    """(data - offset) * scale, blocks implied by the shapes (iOS18)."""
    return _dequantize(inputs["data"], inputs["scale"], inputs.get("offset"))


def _dequantize(data: Array, scale: Array, zero_point: Array | None) -> Array:
    # The product of a code of 8 bits and a float16 is exact in float32: rounded only once.
    parameters = QuantizationParameters(scale, zero_point)
    return dequantize(data, parameters, np.float32).astype(scale.dtype)


def _cast(inputs: Inputs) -> Array:
    """The source as float32, the only output type there is."""
    return np.asarray(inputs["source_val"]).astype(np.float32)


def _lut_to_dense(inputs: Inputs) -> Array:
    """Replace each index by its entry, a number or a vector, of its block's look-up table."""
    if "shape" in inputs:
        return _packed_lut_to_dense(inputs)
    indices, lut = inputs["indices"], inputs["lut"]
    vector_size = lut.shape[-1]
    tables = lut
    for axis, length in enumerate(indices.shape):
        tables = np.repeat(tables, length // lut.shape[axis], axis=axis)
    positions = np.asarray(indices).astype(np.intp)[..., None, None]
    entries = np.take_along_axis(tables, positions, axis=-2)[..., 0, :]
    if vector_size == 1:
        return np.asarray(entries[..., 0])
    axis = int(inputs["vector_axis"]) % indices.ndim
    beside = np.moveaxis(entries, -1, axis + 1)  # a vector lies along the axis it fills
    shape = list(indices.shape)
    shape[axis] *= vector_size
    return beside.reshape(shape)


def _packed_lut_to_dense(inputs: Inputs) -> Array:
    """One table, indices packed from the least significant bit up (iOS16)."""
    lut, shape = inputs["lut"], tuple(int(length) for length in inputs["shape"])
    bits = int(np.log2(lut.size))
    count = int(np.prod(shape))
    flags = np.unpackbits(inputs["indices"], bitorder="little")[: count * bits]
    indices = flags.reshape(count, bits) @ (1 << np.arange(bits))
    return np.asarray(lut[indices].reshape(shape))


def _sparse_to_dense(inputs: Inputs) -> Array:
    """Zeros, with the nonzero data laid down where the mask is set."""
    nonzero, mask = inputs["nonzero_data"], inputs["mask"]
    if "shape" in inputs:
        shape = tuple(int(length) for length in inputs["shape"])
        mask = np.unpackbits(mask, bitorder="little")[: int(np.prod(shape))].reshape(shape)
    dense = np.zeros(mask.shape, nonzero.dtype)
    dense[mask != 0] = nonzero
    return dense


def _lut_to_sparse(inputs: Inputs) -> tuple[Array, Array]:
    """As lut_to_dense on the nonzero indices only; the mask grows with the vectors."""
    mask = inputs["indices_mask"]
    dense_indices = _sparse_to_dense({"nonzero_data": inputs["indices_nonzero_data"], "mask": mask})
    dense = _lut_to_dense({**inputs, "indices": dense_indices})
    if inputs["lut"].shape[-1] > 1:
        mask = np.repeat(mask, inputs["lut"].shape[-1], axis=int(inputs["vector_axis"]))
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(inputs: Inputs) -> tuple[Array, Array]:
    """As blockwise_shift_scale on the nonzero data only."""
    mask = inputs["data_mask"]
    data = _sparse_to_dense({"nonzero_data": inputs["nonzero_data"], "mask": mask})
    dense = _dequantize(data, inputs["scale"], inputs.get("offset"))
    return mask, dense[mask != 0]


_FUNCTIONS: dict[str, Callable[[Inputs], Array | tuple[Array, Array]]] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
