"""Rounding a group of columns one by one, each compensated for those before it."""

from __future__ import annotations

import attrs
import torch

from coreml_assay.numerics.gptq.parameters import Rounder


@attrs.frozen(eq=False)
class Columns:
    """The columns of some rows while they are rounded, in the order of processing.

    Attributes:
        work: float32, shape (columns, rows), contiguous, so that a column is: targets, and of
            columns that are rounded the errors w - w'.
        unit_lower: float32, shape (columns, columns), of `Factor`; its rows are contiguous.
        scale: float32, shape (blocks, rows), contiguous.
        zero: float32, the same.
        block_of: int32, shape (columns,), on the CPU: the block of each column.
        rounder: rounds to codes.
        codes: uint8, shape (columns, rows), contiguous; written.
    """

    work: torch.Tensor
    unit_lower: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    block_of: torch.Tensor
    rounder: Rounder
    codes: torch.Tensor


def round_columns(columns: Columns, start: int, stop: int, original: torch.Tensor) -> None:
    """Round the columns from start to stop, which are compensated for all before start.

    Products and sums are rounded one by one too, in the order of the columns.

    Args:
        columns: among them these.
        start: the first.
        stop: after the last.
        original: float32, shape (stop - start, rows), contiguous, their weights w.
    """
    part = slice(start, stop)
    rounder, work = columns.rounder, columns.work[part]
    codes = torch.empty_like(work)
    factors = columns.unit_lower[part, part].t().unsqueeze(2).unbind()
    blocks = columns.block_of[part].tolist()
    scales = {block: (columns.scale[block], columns.zero[block]) for block in set(blocks)}
    rows = zip(work.unbind(), original.unbind(), codes.unbind(), strict=True)
    for index, (target, w, code) in enumerate(rows):
        s, z = scales[blocks[index]]
        rounder.codes(target, s, z, out=code)
        error = torch.sub(w, rounder.values(code, s, z), out=target)
        if index + 1 < len(blocks):
            work[index + 1 :].add_(factors[index][index + 1 :] * error)
    columns.codes[part] = codes
