"""Normalizations. Source: ``normalization`` of iOS15, iOS17."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation, along, axis_of


def batch_norm(
    *,
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """gamma_i * (x_i - mean_i) / sqrt(variance_i + epsilon) + beta_i for each channel (axis 1)."""
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


def instance_norm(
    *,
    x: torch.Tensor,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """Each channel of each sample, normalized over its spatial dimensions."""
    y = _standardize(x, list(range(2, x.ndim)), epsilon)
    if gamma is not None:
        y = y * along(gamma, 1, x.ndim)
    return y if beta is None else y + along(beta, 1, x.ndim)


def layer_norm(
    *,
    x: torch.Tensor,
    axes: Sequence[int] | None = None,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """``gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta`` over the axes, by default all.

    gamma and beta have the shape of x along the axes.
    """
    dims = [axis_of(axis, x.ndim) for axis in axes] if axes else list(range(x.ndim))
    if dims == list(range(dims[0], x.ndim)):
        return functional.layer_norm(x, x.shape[dims[0] :], gamma, beta, epsilon)
    y = _standardize(x, dims, epsilon)
    shape = [x.shape[d] if d in dims else 1 for d in range(x.ndim)]
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def _standardize(x: torch.Tensor, dims: list[int], epsilon: float) -> torch.Tensor:
    """(x - E[x]) / sqrt(Var[x] + epsilon), the variance without Bessel's correction."""
    centred = x - x.mean(dims, keepdim=True)
    variance = (centred * centred).mean(dims, keepdim=True)
    return centred * torch.rsqrt(variance + epsilon)


def l2_norm(*, x: torch.Tensor, epsilon: float = 1e-6) -> torch.Tensor:
    """``x`` over the root of the sum of squares of its last three axes, plus epsilon."""
    return x / torch.sqrt((x * x).sum((-3, -2, -1), keepdim=True) + epsilon)


def local_response_norm(
    *, x: torch.Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> torch.Tensor:
    """``x / (k + alpha / size * S) ** beta``, S the sum of squares over neighbouring channels."""
    # An even window has its centre right of the middle, as in PyTorch.
    squares = functional.pad((x * x).movedim(1, -1), (size // 2, (size - 1) // 2))
    total = squares.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / torch.pow(k + alpha / size * total, beta)


NORMALIZATION: dict[str, Operation] = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "local_response_norm": local_response_norm,
}
