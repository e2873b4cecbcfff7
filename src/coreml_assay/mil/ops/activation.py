"""Activations. Source: ``activation`` of iOS15, iOS17."""

from __future__ import annotations

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation, along

_GELU_MODES = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}


def clamped_relu(*, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """``min(beta, x)`` where x >= 0, elsewhere ``min(beta, alpha * x)``."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


def elu(*, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """``x`` where x > 0, elsewhere alpha * (e^x - 1)."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


def gelu(*, x: torch.Tensor, mode: str = "EXACT") -> torch.Tensor:
    """``x`` times the normal distribution's cumulative function, exact or by a formula."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return functional.gelu(x, approximate=_GELU_MODES[mode])


def leaky_relu(*, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """``x`` where x >= 0, elsewhere alpha * x."""
    return functional.leaky_relu(x, alpha)


def linear_activation(*, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """``x * alpha + beta``."""
    return x * alpha + beta


def prelu(*, x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """``x`` where x > 0, elsewhere alpha_i * x_i, with one alpha for each channel (axis 1)."""
    return torch.where(x > 0, x, along(alpha, 1, x.ndim) * x)


def scaled_tanh(*, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """``alpha * tanh(beta * x)``."""
    return alpha * torch.tanh(beta * x)


def sigmoid_hard(*, x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """``min(max(alpha * x + beta, 0), 1)``."""
    return torch.clamp(alpha * x + beta, 0, 1)


def softplus(*, x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x), without overflow for large x."""
    return torch.logaddexp(x, torch.zeros_like(x))


def softplus_parametric(
    *, x: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """alpha_i * log(1 + e^(beta_i * x_i)), with one alpha and beta for each channel (axis 1)."""
    return along(alpha, 1, x.ndim) * softplus(x=along(beta, 1, x.ndim) * x)


def softmax(*, x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    """``exp(x)`` over its sum along the axis."""
    return torch.softmax(x, axis)


def softsign(*, x: torch.Tensor) -> torch.Tensor:
    """``x / (1 + |x|)``."""
    return x / (1 + torch.abs(x))


def thresholded_relu(*, x: torch.Tensor, alpha: float) -> torch.Tensor:
    """``x`` where x >= alpha, elsewhere 0."""
    return torch.where(x >= alpha, x, torch.zeros_like(x))


ACTIVATION: dict[str, Operation] = {
    "clamped_relu": clamped_relu,
    "elu": elu,
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "linear_activation": linear_activation,
    "prelu": prelu,
    "relu": lambda *, x: torch.relu(x),
    "relu6": lambda *, x: torch.clamp(x, 0, 6),
    "scaled_tanh": scaled_tanh,
    "sigmoid": lambda *, x: torch.sigmoid(x),
    "sigmoid_hard": sigmoid_hard,
    "silu": lambda *, x: functional.silu(x),
    "softmax": softmax,
    "softplus": softplus,
    "softplus_parametric": softplus_parametric,
    "softsign": softsign,
    "thresholded_relu": thresholded_relu,
}
