"""Rounding a group of columns with the compiled kernel, where there is one.

Equals `columns.round_columns` bit for bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq.columns import Columns

_LANES = 64  # as in gptq.c
_FLOAT, _INT32 = 4, 4  # bytes
_SIZE, _ADDRESS = ctypes.c_size_t, ctypes.c_void_p
_ARGUMENTS = (
    *(_SIZE, _SIZE, _ADDRESS, _ADDRESS, _ADDRESS, _SIZE, _ADDRESS, _ADDRESS, _ADDRESS),
    *(ctypes.c_int32, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS),
)


def available(device: torch.device) -> bool:
    """Whether there is a kernel for tensors of a device."""
    return device.type == "cpu" and _kernel() is not None


def _kernel() -> native.Kernel | None:
    return native.kernel("gptq_round_columns", *_ARGUMENTS)


def rounding(columns: Columns) -> Callable[[int, int, torch.Tensor], None] | None:
    """As `columns.round_columns` of these, if there is a kernel for the tensors' device.

    The tensors must stay alive and where they are.
    """
    kernel = _kernel()
    if kernel is None or columns.work.device.type != "cpu":
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
