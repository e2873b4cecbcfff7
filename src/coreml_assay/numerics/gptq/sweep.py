"""The sweep of GPTQ over the columns of some rows.

The work is held with columns first, so that a column is contiguous. It gathers what makes good the
errors of columns before, becomes each column's target when that is reached, and keeps the column's
error w - w' once that is rounded. It lies where the rounded weights are put in the end.
"""

from __future__ import annotations

import functools

import torch

from coreml_assay.numerics.gptq import kernel
from coreml_assay.numerics.gptq.columns import Columns, round_columns
from coreml_assay.numerics.gptq.factor import Factor
from coreml_assay.numerics.gptq.parameters import Rounder
from coreml_assay.numerics.gptq.plan import Compensate, Enter, Round, Step
from coreml_assay.numerics.gptq.products import compensating
from coreml_assay.numerics.gptq.spec import GPTQResult, GPTQSpec


def sweep(
    weight: torch.Tensor,
    rows: slice,
    factor: Factor,
    spec: GPTQSpec,
    rounder: Rounder,
    steps: list[Step],
    result: GPTQResult,
) -> None:
    """Quantize some rows of a weight, and write them into the result.

    Args:
        weight: float32, shape (all rows, columns).
        rows: which rows.
        factor: of the Hessian.
        spec: how.
        rounder: of the spec.
        steps: from `plan`.
        result: of all rows.
    """
    order, columns = factor.order, weight.shape[1]
    blocks = result.scale.shape[1]
    size = columns // blocks
    # Where the result will be there is room for the work, which has another shape.
    work = result.weight[rows].view(columns, -1).zero_()
    column_of = torch.arange(columns) if order is None else order.cpu()
    parts = Columns(
        work=work,
        unit_lower=factor.unit_lower,
        scale=work.new_empty(blocks, work.shape[1]),
        zero=work.new_empty(blocks, work.shape[1]),
        block_of=(column_of // size).to(torch.int32),
        rounder=rounder,
        codes=torch.empty(work.shape, dtype=torch.uint8, device=work.device),
    )
    round_parts = kernel.rounding(parts) or functools.partial(round_columns, parts)
    entered = weight[rows], work, factor.unit_lower
    enter_block = kernel.entering(*entered, extremes=not spec.scale_search) or functools.partial(
        enter, *entered
    )
    compensate = compensating(work, factor.unit_lower)
    shares = factor.diagonal.square()
    if order is not None:
        shares = torch.empty_like(shares).index_copy_(0, order, shares)

    def weights_of(members: slice | torch.Tensor) -> torch.Tensor:
        return _columns_first(weight[rows, members])

    def choose(block: torch.Tensor, start: int) -> None:
        found = _parameters(block, shares[start : start + size], spec, rounder)
        parts.scale[start // size], parts.zero[start // size] = found

    if spec.scales_come_first:
        for start in range(0, columns, size):
            choose(weights_of(slice(start, start + size)), start)
    block_start, block = 0, work  # the block that was entered
    for step in steps:
        match step:
            case Enter(start, stop):
                block_start = start
                block, compensated = enter_block(start, stop)
                choose(compensated, start)
            case Round(start, stop) if spec.scales_come_first:
                original = weights_of(slice(start, stop) if order is None else order[start:stop])
                work[start:stop] += original
                round_parts(start, stop, original)
            case Round(start, stop):
                round_parts(start, stop, block[start - block_start : stop - block_start])
            case Compensate(start, middle, stop):
                compensate(start, middle, stop)

    result.scale[rows] = parts.scale.t()
    result.zero_point[rows] = parts.zero.t()
    if order is None:
        result.codes[rows] = parts.codes.t()
    else:
        result.codes[rows, order] = parts.codes.t()
    blocked = (-1, blocks, size)
    rounder.values_into(
        result.weight[rows].view(blocked),
        result.codes[rows].view(blocked),
        result.scale[rows, :, None],
        result.zero_point[rows, :, None],
    )


def enter(
    weight: torch.Tensor, work: torch.Tensor, unit_lower: torch.Tensor, start: int, stop: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Begin with a block of columns: add their weights to the work, which so holds targets.

    The target of column k is w_k and what makes good the errors of all columns before it. Where a
    column i of the block has weight v_i rather than being rounded, its error is w_i - v_i, so the
    weights that make good all errors made before the block, none being made within, solve

        v_k = w_k + compensation_k + sum over i < k in the block of (w_i - v_i) L_ki / L_kk.

    These are the weights that GPTQ, as published, has in memory at that time.

    Args:
        weight: float32, shape (rows, columns).
        work: float32, shape (columns, rows), in the block what makes good the errors before it.
        unit_lower: of `Factor`.
        start: the first column of the block.
        stop: after the last.

    Returns:
        The block's weights w and v, each float32, of shape (stop - start, rows), contiguous.
    """
    part = slice(start, stop)
    original = _columns_first(weight[:, part])
    # v - w solves a triangular system; the library is fast at it from the right.
    difference = torch.linalg.solve_triangular(
        unit_lower[part, part].t(), work[part].t(), upper=True, left=False, unitriangular=True
    )
    work[part] += original
    return original, difference.t() + original


def _columns_first(weight: torch.Tensor) -> torch.Tensor:
    return weight.contiguous().t().contiguous()


def _parameters(
    block: torch.Tensor, shares: torch.Tensor, spec: GPTQSpec, rounder: Rounder
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of each row of a block of shape (columns, rows).

    Without `scale_search` the extremes of each row will do, shape (2, rows).
    """
    if spec.per_tensor:
        shares = shares.repeat_interleave(block.shape[1])
        block = block.reshape(-1, 1)
    scale, zero = rounder.parameters(block)
    if spec.scale_search:
        scale = rounder.searched(block, scale, zero, shares)
    return scale, zero
