"""Products of matrices, and attention. Source: ``linear`` of iOS15, iOS17; iOS18 transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation


def linear(
    *, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | Sequence[int] | None = None
) -> torch.Tensor:
    """``x`` [*D, D_in] times the transpose of weight [D_out, D_in], plus bias [D_out]."""
    if bias is not None and not isinstance(bias, torch.Tensor):  # constant integers
        bias = torch.tensor(bias, dtype=x.dtype)
    return functional.linear(x, weight, bias)


def matmul(
    *, x: torch.Tensor, y: torch.Tensor, transpose_x: bool = False, transpose_y: bool = False
) -> torch.Tensor:
    """The product of matrices by NumPy's rules; transposing has no effect on a vector."""
    if transpose_x and x.ndim > 1:
        x = x.transpose(-1, -2)
    if transpose_y and y.ndim > 1:
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


def einsum(*, values: tuple[torch.Tensor, ...], equation: str) -> torch.Tensor:
    """The sum of products by the equation; batch dimensions of length 1 are broadcast."""
    return torch.einsum(equation, *values)


def scaled_dot_product_attention(
    *,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V; a boolean mask is False where nothing may be seen."""
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        else:
            scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)


LINEAR: dict[str, Operation] = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
