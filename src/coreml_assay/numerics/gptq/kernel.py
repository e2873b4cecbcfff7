"""The compiled kernels of the sweep, where there are any: entering a block, rounding columns."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq.columns import Columns

_LANES = 64  # as in gptq.c and tiles.h
_FLOAT, _INT32 = 4, 4  # bytes
_SIZE, _ADDRESS = ctypes.c_size_t, ctypes.c_void_p
_ROUND_ARGUMENTS = (
    *(_SIZE, _SIZE, _ADDRESS, _ADDRESS, _ADDRESS, _SIZE, _ADDRESS, _ADDRESS, _ADDRESS),
    *(ctypes.c_int32, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS),
)
_ENTER_ARGUMENTS = (
    *(_SIZE, _SIZE, _ADDRESS, _SIZE, _ADDRESS, _SIZE),
    *(_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS),
)


def available(device: torch.device) -> bool:
    """Whether there is a kernel for tensors of a device."""
    return _round_kernel(device) is not None


def _round_kernel(device: torch.device) -> native.Kernel | None:
    on_cpu = device.type == "cpu"
    return native.kernel("gptq_round_columns", *_ROUND_ARGUMENTS) if on_cpu else None


def entering(
    weight: torch.Tensor, work: torch.Tensor, unit_lower: torch.Tensor, *, extremes: bool
) -> Callable[[int, int], tuple[torch.Tensor, torch.Tensor]] | None:
    """As `sweep.enter` with these, if there is a kernel for the tensors' device.

    With ``extremes`` it returns in the place of v only the least and the most of each row, shape
    (2, rows), which span the same range. The tensors must stay alive and where they are.
    """
    on_cpu = work.device.type == "cpu"
    kernel = native.kernel("gptq_enter", *_ENTER_ARGUMENTS) if on_cpu else None
    if kernel is None:
        return None
    weight = weight.contiguous()
    rows, stride = work.shape[1], unit_lower.stride(0)
    scratch = torch.empty(0)

    def enter(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        columns = stop - start
        original, ends = torch.empty(columns, rows), torch.empty(2, rows)
        compensated = None if extremes else torch.empty(columns, rows)
        kernel(
            *(columns, rows),
            *(weight.data_ptr() + _FLOAT * start, weight.shape[1]),
            *(unit_lower.data_ptr() + _FLOAT * start * (stride + 1), stride),
            work.data_ptr() + _FLOAT * start * rows,
            original.data_ptr(),
            None if compensated is None else compensated.data_ptr(),
            *(ends.data_ptr(), scratch.resize_(columns * _LANES).data_ptr()),
        )
        return original, ends if compensated is None else compensated

    return enter


def rounding(columns: Columns) -> Callable[[int, int, torch.Tensor], None] | None:
    """As `columns.round_columns` of these, if there is a kernel for the tensors' device.

    It does the same bit for bit. The tensors must stay alive and where they are.
    """
    kernel = _round_kernel(columns.work.device)
    if kernel is None:
        return None
    rows, stride = columns.work.shape[1], columns.unit_lower.stride(0)
    work, lower = columns.work.data_ptr(), columns.unit_lower.data_ptr()
    block_of = columns.block_of.data_ptr()
    scale, zero, codes = columns.scale.data_ptr(), columns.zero.data_ptr(), columns.codes.data_ptr()
    levels, midpoints = columns.rounder.levels, columns.rounder.midpoints
    level_values = None if levels is None else levels.data_ptr()
    between_levels = None if midpoints is None else midpoints.data_ptr()
    scratch = torch.empty(0)

    def round_columns(start: int, stop: int, original: torch.Tensor) -> None:
        first = start * rows
        kernel(
            stop - start,
            rows,
            work + _FLOAT * first,
            original.data_ptr(),
            lower + _FLOAT * start * (stride + 1),
            stride,
            scale,
            zero,
            block_of + _INT32 * start,
            columns.rounder.highest,
            level_values,
            between_levels,
            codes + first,
            scratch.resize_((stop - start) * _LANES).data_ptr(),
        )

    return round_columns
