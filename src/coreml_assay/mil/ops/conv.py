"""Convolutions over one to three spatial dimensions. Source: ``conv`` of iOS15, iOS17."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation, along, ints
from coreml_assay.mil.ops._padding import for_torch, paddings

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def conv(
    *,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    """Convolution of x [n, C_in, *D] with weight [C_out, C_in / groups, *K]."""
    spatial = x.ndim - 2
    strides, dilations = strides or (1,) * spatial, dilations or (1,) * spatial
    kernel = _effective_kernel(weight, dilations)
    pairs = paddings(pad_type, pad, x.shape[2:], kernel, strides)
    symmetric = [before for before, after in pairs if before == after]
    if len(symmetric) < spatial:
        x, symmetric = functional.pad(x, for_torch(pairs)), [0] * spatial
    return _CONV[spatial](x, weight, bias, strides, symmetric, dilations, groups)


def conv_quantized(
    *,
    x: torch.Tensor,
    weight: torch.Tensor,
    quantization_type: str,
    quant_scale: torch.Tensor | float,
    quant_bias: torch.Tensor | float,
    bias: torch.Tensor | None = None,
    nbits: int = 8,
    **geometry: Any,
) -> torch.Tensor:
    """Convolution with W = quantized * scale + bias; the lookup-table form is not documented."""
    if quantization_type != "linear" or nbits != 8:
        raise ValueError(
            f"quantization_type {quantization_type!r} with {nbits} bits is not documented"
        )
    scale, offset = (_per_filter(value, x, weight.ndim) for value in (quant_scale, quant_bias))
    if bias is not None:
        bias = bias.to(x.dtype)
    return conv(x=x, weight=weight.to(x.dtype) * scale + offset, bias=bias, **geometry)


def _per_filter(value: torch.Tensor | float, x: torch.Tensor, rank: int) -> torch.Tensor:
    """A scale or offset, one or one for each filter, shaped to broadcast against the weight."""
    value = torch.as_tensor(value, dtype=x.dtype)
    return along(value, 0, rank) if value.ndim == 1 else value


def conv_transpose(
    *,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    pad: Sequence[int] | None = None,
    output_shape: Sequence[int] | torch.Tensor | None = None,
    pad_type: str = "valid",
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    """Transposed convolution of x [n, C_in, *D] with weight [C_in, C_out / groups, *K].

    The full output is (D - 1) * stride + (K - 1) * dilation + 1 long; ``custom`` cuts pad off,
    ``same`` cuts it to D * stride, and output_shape, where given, overrides the length.
    """
    spatial = x.ndim - 2
    strides, dilations = strides or (1,) * spatial, dilations or (1,) * spatial
    kernel = _effective_kernel(weight, dilations)
    full = [(d - 1) * s + k for d, s, k in zip(x.shape[2:], strides, kernel, strict=True)]
    crops = _crops(pad_type, pad, full, x.shape[2:], strides, output_shape)
    if all(before == after >= 0 for before, after in crops):
        symmetric = [before for before, _ in crops]
        return _CONV_TRANSPOSE[spatial](x, weight, bias, strides, symmetric, 0, groups, dilations)
    y = _CONV_TRANSPOSE[spatial](x, weight, None, strides, 0, 0, groups, dilations)
    y = functional.pad(y, [-crop for crop in for_torch(crops)])
    # The bias comes last because it also belongs to elements that no input reaches.
    return y if bias is None else y + along(bias, 1, y.ndim)


def _crops(
    pad_type: str,
    pad: Sequence[int] | None,
    full: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    output_shape: Sequence[int] | torch.Tensor | None,
) -> list[tuple[int, int]]:
    """Elements to cut off before and after each spatial dimension; negative ones are added."""
    if pad_type == "same":
        lengths = [d * s for d, s in zip(sizes, strides, strict=True)]
    else:
        pairs = paddings(pad_type, pad, sizes, full, strides)
        lengths = [f - before - after for f, (before, after) in zip(full, pairs, strict=True)]
    if output_shape is not None:
        lengths = list(ints(output_shape)[2:])
    surplus = [f - length for f, length in zip(full, lengths, strict=True)]
    if pad_type == "same":
        return [(max(0, s) // 2, s - max(0, s) // 2) for s in surplus]
    return [(before, s - before) for s, (before, _) in zip(surplus, pairs, strict=True)]


def _effective_kernel(weight: torch.Tensor, dilations: Sequence[int]) -> list[int]:
    """The extent of each kernel dimension with its dilation."""
    return [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]


CONV: dict[str, Operation] = {
    "conv": conv,
    "conv_quantized": conv_quantized,
    "conv_transpose": conv_transpose,
}
