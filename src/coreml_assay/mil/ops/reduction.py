"""Reductions over axes, all of them by default. Source: ``reduction`` of iOS15, iOS17.

Where the result's type is int32, the evaluator cuts off what a mean, root or logarithm leaves
behind the point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from coreml_assay.mil.ops._arguments import Operation, axis_of


def _over_axes(reduce: Callable[[torch.Tensor, list[int], bool], torch.Tensor]) -> Operation:
    """The operation that applies a reduction to the axes asked for."""

    def operation(
        *, x: torch.Tensor, axes: Sequence[int] | None = None, keep_dims: bool = False
    ) -> torch.Tensor:
        dims = [axis_of(axis, x.ndim) for axis in axes] if axes else list(range(x.ndim))
        return reduce(x, dims, keep_dims)

    return operation


def _sum(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.sum(x, dims, keep)


def _mean(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    if x.is_floating_point():
        return torch.mean(x, dims, keep)
    return _mean(x.to(torch.float64), dims, keep)


def _prod(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    for dim in sorted(dims, reverse=True):
        x = torch.prod(x, dim, keep)
    return x


def _l1_norm(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.sum(torch.abs(x), dims, keep)


def _l2_norm(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.sqrt(torch.sum(x * x, dims, keep))


def _log_sum(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.log(torch.sum(x, dims, keep))


def _log_sum_exp(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.logsumexp(x, dims, keep)


def _sum_square(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.sum(x * x, dims, keep)


def _largest(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.amax(x, dims, keep)


def _smallest(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    return torch.amin(x, dims, keep)


def reduce_argmax(
    *, x: torch.Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> torch.Tensor:
    """The index of the largest element; which of equal ones is not documented.

    The result's type, which output_dtype names, is given by the evaluator.
    """
    return torch.argmax(x, axis, keep_dims)


def reduce_argmin(
    *, x: torch.Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> torch.Tensor:
    """The index of the smallest element; which of equal ones is not documented.

    The result's type, which output_dtype names, is given by the evaluator.
    """
    return torch.argmin(x, axis, keep_dims)


REDUCTION: dict[str, Operation] = {
    "reduce_argmax": reduce_argmax,
    "reduce_argmin": reduce_argmin,
    "reduce_l1_norm": _over_axes(_l1_norm),
    "reduce_l2_norm": _over_axes(_l2_norm),
    "reduce_log_sum": _over_axes(_log_sum),
    "reduce_log_sum_exp": _over_axes(_log_sum_exp),
    "reduce_max": _over_axes(_largest),
    "reduce_mean": _over_axes(_mean),
    "reduce_min": _over_axes(_smallest),
    "reduce_prod": _over_axes(_prod),
    "reduce_sum": _over_axes(_sum),
    "reduce_sum_square": _over_axes(_sum_square),
}
