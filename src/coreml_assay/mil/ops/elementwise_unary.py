"""Elementwise operations of one tensor. Source: ``elementwise_unary`` of iOS15, iOS17."""

from __future__ import annotations

import torch

from coreml_assay.mil.ops._arguments import Operation
from coreml_assay.mil.precision import FLOATS, INTEGERS


def logical_not(*, x: torch.Tensor) -> torch.Tensor:
    """NOT x, where a number is true if it is not 0."""
    return torch.logical_not(x)


def round_half_to_even(*, x: torch.Tensor) -> torch.Tensor:
    """The nearest integer; 0.5 goes to 0, as the documentation asks, so ties go to even."""
    return torch.round(x)


def clip(*, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """``x`` limited to [alpha, beta]."""
    return torch.clamp(x, alpha, beta)


def threshold(*, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """x, or alpha where x is less."""
    return torch.clamp(x, min=alpha)


def inverse(*, x: torch.Tensor, epsilon: float = 1e-4) -> torch.Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


def log(*, x: torch.Tensor, epsilon: float = 1e-45) -> torch.Tensor:
    """The natural logarithm of x + epsilon."""
    return torch.log(x + epsilon)


def rsqrt(*, x: torch.Tensor, epsilon: float = 1e-12) -> torch.Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


def square(*, x: torch.Tensor) -> torch.Tensor:
    """``x * x``."""
    return x * x


def cast(*, x: torch.Tensor, dtype: str) -> torch.Tensor:
    """``x`` as another type: fractions are cut off, and a number is true if it is not 0.

    A cast to fp16 or fp32 returns x as it is: the evaluator gives every result the dtype that
    its precision holds the output's type in.
    """
    if dtype in FLOATS:
        return x
    if dtype == "uint16":  # held in int32, so the wrap-around is done here
        return x.to(torch.int32) & 0xFFFF
    return x.to(INTEGERS[dtype])


ELEMENTWISE_UNARY: dict[str, Operation] = {
    "abs": lambda *, x: torch.abs(x),
    "acos": lambda *, x: torch.acos(x),
    "asin": lambda *, x: torch.asin(x),
    "atan": lambda *, x: torch.atan(x),
    "atanh": lambda *, x: torch.atanh(x),
    "cast": cast,
    "ceil": lambda *, x: torch.ceil(x),
    "clip": clip,
    "cos": lambda *, x: torch.cos(x),
    "cosh": lambda *, x: torch.cosh(x),
    "erf": lambda *, x: torch.erf(x),
    "exp": lambda *, x: torch.exp(x),
    "exp2": lambda *, x: torch.exp2(x),
    "floor": lambda *, x: torch.floor(x),
    "inverse": inverse,
    "log": log,
    "logical_not": logical_not,
    "round": round_half_to_even,
    "rsqrt": rsqrt,
    "sign": lambda *, x: torch.sign(x),
    "sin": lambda *, x: torch.sin(x),
    "sinh": lambda *, x: torch.sinh(x),
    "sqrt": lambda *, x: torch.sqrt(x),
    "square": square,
    "tan": lambda *, x: torch.tan(x),
    "tanh": lambda *, x: torch.tanh(x),
    "threshold": threshold,
}
