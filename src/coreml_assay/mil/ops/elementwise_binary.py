"""Elementwise operations of two tensors, with broadcasting.

Source: ``elementwise_binary`` of iOS15. Where the result's type is int32, the evaluator cuts off
what `real_div` and `pow` leave behind the point.
"""

from __future__ import annotations

import torch

from coreml_assay.mil.ops._arguments import Operation


def real_div(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The quotient of x and y."""
    return torch.true_divide(x, y)


def floor_div(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The quotient of x and y, rounded towards negative infinity."""
    return torch.floor_divide(x, y)


def mod(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The remainder of x by y, with the sign of y."""
    return torch.remainder(x, y)


def maximum(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The larger of x and y; NaN stays NaN, so that an overflow upstream is not hidden."""
    return torch.maximum(x, y)


def minimum(*, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The smaller of x and y; NaN stays NaN, so that an overflow upstream is not hidden."""
    return torch.minimum(x, y)


ELEMENTWISE_BINARY: dict[str, Operation] = {
    "add": lambda *, x, y: x + y,
    "equal": lambda *, x, y: x == y,
    "floor_div": floor_div,
    "greater": lambda *, x, y: x > y,
    "greater_equal": lambda *, x, y: x >= y,
    "less": lambda *, x, y: x < y,
    "less_equal": lambda *, x, y: x <= y,
    "logical_and": lambda *, x, y: torch.logical_and(x, y),
    "logical_or": lambda *, x, y: torch.logical_or(x, y),
    "logical_xor": lambda *, x, y: torch.logical_xor(x, y),
    "maximum": maximum,
    "minimum": minimum,
    "mod": mod,
    "mul": lambda *, x, y: x * y,
    "not_equal": lambda *, x, y: x != y,
    "pow": lambda *, x, y: torch.pow(x, y),
    "real_div": real_div,
    "sub": lambda *, x, y: x - y,
}
