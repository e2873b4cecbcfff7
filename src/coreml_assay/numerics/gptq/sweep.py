"""The sweep of GPTQ over the columns of some rows.

The work is held with columns first, so that a column is contiguous. It starts as the weights, is
updated to each column's target, and keeps each column's error w - w' once that is rounded.
"""

from __future__ import annotations

import torch

from coreml_assay.numerics.gptq import kernel
from coreml_assay.numerics.gptq.columns import Columns, round_columns
from coreml_assay.numerics.gptq.factor import Factor
from coreml_assay.numerics.gptq.parameters import Rounder
from coreml_assay.numerics.gptq.plan import Compensate, Enter, Round, Step
from coreml_assay.numerics.gptq.spec import GPTQResult, GPTQSpec


def sweep(
    weight: torch.Tensor,
    rows: slice,
    factor: Factor,
    spec: GPTQSpec,
    rounder: Rounder,
    steps: list[Step],
    inverses: list[torch.Tensor],
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
        inverses: of the blocks that the steps enter, from `inverse_blocks`.
        result: of all rows.
    """
    original = weight[rows].t().contiguous()
    order, columns = factor.order, len(original)
    blocks = result.scale.shape[1]
    size = columns // blocks
    ordered = original if order is None else original[order]
    work = ordered.clone()
    column_of = torch.arange(columns) if order is None else order.cpu()
    parts = Columns(
        work=work,
        original=ordered,
        unit_lower=factor.unit_lower,
        scale=work.new_empty(blocks, work.shape[1]),
        zero=work.new_empty(blocks, work.shape[1]),
        block_of=(column_of // size).to(torch.int32),
        rounder=rounder,
        codes=torch.empty(work.shape, dtype=torch.uint8, device=work.device),
    )
    compiled = kernel.rounding(parts)
    shares = factor.diagonal.square()
    if order is not None:
        shares = torch.empty_like(shares).index_copy_(0, order, shares)

    def choose(block: torch.Tensor, start: int) -> None:
        found = _parameters(block, shares[start : start + size], spec, rounder)
        parts.scale[start // size], parts.zero[start // size] = found

    if spec.scales_come_first:
        for start in range(0, columns, size):
            choose(original[start : start + size], start)
    for step in steps:
        match step:
            case Enter(start, stop):
                part = slice(start, stop)
                choose(_compensated(work[part], original[part], inverses[start // size]), start)
            case Round(start, stop):
                if compiled is not None:
                    compiled(start, stop)
                else:
                    round_columns(parts, start, stop)
            case Compensate(start, middle, stop):
                lower = factor.unit_lower[middle:stop, start:middle]
                work[middle:stop].addmm_(lower, work[start:middle])

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


def inverse_blocks(unit_lower: torch.Tensor, size: int) -> list[torch.Tensor]:
    """The inverses of the square blocks on the diagonal of a unit lower triangular matrix."""
    starts = range(0, len(unit_lower), size)
    blocks = torch.stack([unit_lower[at : at + size, at : at + size] for at in starts])
    identity = torch.eye(size, device=blocks.device).expand_as(blocks)
    inverses = torch.linalg.solve_triangular(blocks, identity, upper=False, unitriangular=True)
    return list(inverses)


def _compensated(
    targets: torch.Tensor, original: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    """A block's weights as all errors made before it would have them, none being made within.

    A target counts the errors of all columns before it. Where a column i of the block has weight
    w_i rather than being rounded, its error is (original - w)_i, so the weights solve

        w_k = target_k + sum over i < k in the block of (original - w)_i L_ki / L_kk.

    This is the weight that GPTQ, as published, has in memory at that time.
    """
    return torch.addmm(original, inverse, targets - original)


def _parameters(
    block: torch.Tensor, shares: torch.Tensor, spec: GPTQSpec, rounder: Rounder
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of each row of a block of shape (columns, rows)."""
    if spec.per_tensor:
        shares = shares.repeat_interleave(block.shape[1])
        block = block.reshape(-1, 1)
    scale, zero = rounder.parameters(block)
    if spec.scale_search:
        scale = rounder.searched(block, scale, zero, shares)
    return scale, zero
