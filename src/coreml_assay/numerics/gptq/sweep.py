"""The sweep of GPTQ over the columns of some rows.

The work is held with columns first, so that a column is contiguous. It starts as the weights, is
updated to each column's target, and keeps each column's error w - w' once that is rounded.
"""

from __future__ import annotations

import torch

from coreml_assay.numerics.gptq import kernel
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
    codes = torch.empty(work.shape, dtype=torch.uint8, device=work.device)
    scale, zero = work.new_empty(blocks, work.shape[1]), work.new_empty(blocks, work.shape[1])
    column_of = torch.arange(columns) if order is None else order.cpu()
    block_of = (column_of // size).to(torch.int32)
    shares = factor.diagonal.square()
    if order is not None:
        shares = torch.empty_like(shares).index_copy_(0, order, shares)

    def choose(block: torch.Tensor, start: int) -> None:
        index = start // size
        scale[index], zero[index] = _parameters(block, shares[start : start + size], spec, rounder)

    if spec.scales_come_first:
        for start in range(0, columns, size):
            choose(original[start : start + size], start)
    for step in steps:
        match step:
            case Enter(start, stop):
                part = slice(start, stop)
                choose(_compensated(work[part], original[part], inverses[start // size]), start)
            case Round(start, stop):
                part = slice(start, stop)
                arguments = (
                    work[part],
                    ordered[part],
                    factor.unit_lower[part, part],
                    scale,
                    zero,
                    block_of[part],
                    rounder,
                    codes[part],
                )
                if not kernel.round_columns(*arguments):
                    round_columns(*arguments)
            case Compensate(start, middle, stop):
                lower = factor.unit_lower[middle:stop, start:middle]
                work[middle:stop].addmm_(lower, work[start:middle])

    result.scale[rows] = scale.t()
    result.zero_point[rows] = zero.t()
    if order is None:
        result.codes[rows] = codes.t()
    else:
        result.codes[rows, order] = codes.t()
    blocked = (-1, blocks, size)
    rounder.values_into(
        result.weight[rows].view(blocked),
        result.codes[rows].view(blocked),
        result.scale[rows, :, None],
        result.zero_point[rows, :, None],
    )


def inverse_blocks(unit_lower: torch.Tensor, size: int) -> list[torch.Tensor]:
    """The inverses of the square blocks on the diagonal of a unit lower triangular matrix."""
    inverses = []
    for start in range(0, len(unit_lower), size):
        block = unit_lower[start : start + size, start : start + size]
        identity = torch.eye(size, device=block.device)
        inverses.append(
            torch.linalg.solve_triangular(block, identity, upper=False, unitriangular=True)
        )
    return inverses


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


def round_columns(
    work: torch.Tensor,
    original: torch.Tensor,
    unit_lower: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    block_of: torch.Tensor,
    rounder: Rounder,
    codes: torch.Tensor,
) -> None:
    """Round columns one by one, each compensated for those before it.

    Products and sums are rounded one by one too, in the order of the columns.

    Args:
        work: float32, shape (columns, rows), targets on entry; on return the errors.
        original: float32, the same shape, the weights.
        unit_lower: float32, shape (columns, columns), of `Factor`.
        scale: float32, shape (blocks, rows).
        zero: float32, the same shape.
        block_of: int32, shape (columns,), the block of each column.
        rounder: rounds to codes.
        codes: uint8, shape (columns, rows), written.
    """
    product = torch.empty_like(work)
    for index, block in enumerate(block_of.tolist()):
        s, z = scale[block], zero[block]
        q = rounder.codes(work[index], s, z)
        codes[index] = q
        error = torch.sub(original[index], rounder.values(q, s, z), out=work[index])
        later = slice(index + 1, None)
        torch.mul(unit_lower[later, index : index + 1], error, out=product[later])
        work[later] += product[later]
