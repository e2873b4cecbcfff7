"""Affine quantization of activations. Source: ``quantization_ops`` of iOS17."""

from __future__ import annotations

import torch

from coreml_assay.mil.ops._arguments import Operation, along, axis_of
from coreml_assay.mil.precision import INTEGERS


def quantize(
    *,
    input: torch.Tensor,
    scale: torch.Tensor | float,
    output_dtype: str,
    zero_point: torch.Tensor | int | None = None,
    axis: int | None = None,
) -> torch.Tensor:
    """clip(round(input / scale) + zero_point) to the range of int8 or uint8; ties go to even."""
    s, z = _parameters(input, input.dtype, scale, zero_point, axis)
    limits = torch.iinfo(INTEGERS[output_dtype])
    codes = torch.clamp(torch.round(input / s) + z, limits.min, limits.max)
    return codes.to(INTEGERS[output_dtype])


def dequantize(
    *,
    input: torch.Tensor,
    scale: torch.Tensor | float,
    zero_point: torch.Tensor | int | None = None,
    axis: int | None = None,
) -> torch.Tensor:
    """``scale * (input - zero_point)``, in the scale's type."""
    # A scalar scale arrives as a Python number; float64 keeps it whole, and the evaluator gives
    # the result the dtype of its precision.
    dtype = scale.dtype if isinstance(scale, torch.Tensor) else torch.float64
    s, z = _parameters(input, dtype, scale, zero_point, axis)
    return s * (input.to(dtype) - z)


def _parameters(
    x: torch.Tensor,
    dtype: torch.dtype,
    scale: torch.Tensor | float,
    zero_point: torch.Tensor | int | None,
    axis: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point in one dtype, shaped to broadcast against x."""
    s = torch.as_tensor(scale).to(dtype)
    z = torch.as_tensor(0 if zero_point is None else zero_point).to(dtype)
    if s.ndim == z.ndim == 0:
        return s, z
    if axis is None:
        raise ValueError("a vector of scales needs an axis")
    axis = axis_of(axis, x.ndim)
    return (
        along(s, axis, x.ndim) if s.ndim else s,
        along(z, axis, x.ndim) if z.ndim else z,
    )


QUANTIZATION: dict[str, Operation] = {"dequantize": dequantize, "quantize": quantize}
