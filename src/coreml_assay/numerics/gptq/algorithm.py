"""GPTQ on one weight: factorize the Hessian, then sweep over the weight's columns.

Rows do not depend on each other, so a slice of them that fits a cache goes through all columns
before the next one starts.
"""

from __future__ import annotations

import math

import attrs
import torch

from coreml_assay.numerics.gptq import kernel
from coreml_assay.numerics.gptq.factor import Factor, factorize
from coreml_assay.numerics.gptq.hessian import Hessian
from coreml_assay.numerics.gptq.parameters import Rounder
from coreml_assay.numerics.gptq.plan import plan
from coreml_assay.numerics.gptq.spec import GPTQError, GPTQResult, GPTQSpec, is_finite
from coreml_assay.numerics.gptq.sweep import sweep
from coreml_assay.numerics.gptq.threads import shared_among_threads

_ROWS = 512  # in a slice, for the compiled kernel
_ROWS_WITHOUT_KERNEL = 1024  # where each operation of PyTorch on a column costs its start as well
_LARGE_EXPONENT = 60  # weights below 2**60 overflow nowhere on the way


def quantize(weight: torch.Tensor, hessian: torch.Tensor | Hessian, spec: GPTQSpec) -> GPTQResult:
    """Quantize a weight so that the layer's outputs change little.

    Lowers the loss tr((W - W') H (W - W')^T) greedily from column to column. The result has the
    same bits whatever the number of threads.

    Source: arXiv 2210.17323, algorithm 1, in the equivalent form of arXiv 2507.18553.

    Args:
        weight: float32, shape (rows, columns). It is not changed.
        hessian: a `Hessian`, which takes least memory, or float32, shape (columns, columns),
            symmetric, as from `Hessian.matrix`; on the weight's device. It is not changed.
        spec: how.

    Returns:
        Codes, their parameters, and what was noteworthy on the way.

    Raises:
        GPTQError: wrong shapes, dtypes or devices, NaN or infinities, a block size that does not
            divide the columns, or a Hessian that no dampening makes positive definite, or that
            has seen no sample or overflows.
    """
    if isinstance(hessian, Hessian):  # only what is in order has a lower triangle that is enough
        hessian = hessian.matrix if spec.activation_order else hessian.lower
    _check(weight, hessian, spec)
    factor = factorize(hessian.detach(), spec.hessian_dampening, spec.activation_order)
    return quantize_with_factor(weight, factor, spec)


def quantize_with_factor(weight: torch.Tensor, factor: Factor, spec: GPTQSpec) -> GPTQResult:
    """The sweep of `quantize` alone, under a Hessian that has been factorized."""
    weight = weight.detach()
    low, high = torch.aminmax(weight)
    _, exponent = math.frexp(max(-float(low), float(high)))
    if exponent > _LARGE_EXPONENT:  # a power of two changes no digit
        small = quantize_with_factor(weight * 2.0**-exponent, factor, spec)
        scaled = {"scale": small.scale * 2.0**exponent, "weight": small.weight * 2.0**exponent}
        return attrs.evolve(small, **scaled)
    rows, columns = weight.shape
    rounder = Rounder.of(spec, weight.device)
    block = spec.block_columns or columns
    result = GPTQResult(
        codes=torch.empty(rows, columns, dtype=torch.uint8, device=weight.device),
        scale=torch.empty(rows, columns // block, device=weight.device),
        zero_point=torch.empty(rows, columns // block, device=weight.device),
        weight=torch.empty(rows, columns, device=weight.device),
        dead=factor.dead,
        dampening=factor.dampening,
        dampening_raised=factor.dampening_raised,
        lut=rounder.levels,
    )
    steps = plan(
        columns, spec.processing_group_size, None if spec.scales_come_first else spec.block_columns
    )
    height = _ROWS if kernel.available(weight.device) else _ROWS_WITHOUT_KERNEL
    if spec.per_tensor:
        height = rows  # rows that share a scale go together

    def sweep_slice(start: int) -> None:
        sweep(weight, slice(start, start + height), factor, spec, rounder, steps, result)

    with shared_among_threads() as for_each:
        for_each(sweep_slice, range(0, rows, height))
    return result


def _check(weight: torch.Tensor, hessian: torch.Tensor, spec: GPTQSpec) -> None:
    if weight.ndim != 2 or not weight.numel():
        raise GPTQError(
            f"the weight must have shape (rows, columns), not empty, got {tuple(weight.shape)}"
        )
    columns = weight.shape[1]
    if hessian.shape != (columns, columns):
        raise GPTQError(
            f"the Hessian of {columns} columns must have shape ({columns}, {columns}), "
            f"got {tuple(hessian.shape)}"
        )
    for name, tensor in (("weight", weight), ("Hessian", hessian)):
        if tensor.dtype != torch.float32:
            raise GPTQError(f"the {name} must be float32, got {tensor.dtype}")
    if weight.device != hessian.device:
        raise GPTQError(f"the weight is on {weight.device}, the Hessian on {hessian.device}")
    if not is_finite(weight):
        kind = "NaN" if torch.isnan(weight).any() else "infinite values"
        raise GPTQError(f"the weight holds {kind}")
    if spec.block_columns is not None and columns % spec.block_columns:
        raise GPTQError(f"block_columns {spec.block_columns} does not divide {columns} columns")
