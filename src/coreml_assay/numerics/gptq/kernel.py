"""Rounding a group of columns with the compiled kernel, where there is one.

Equals `sweep.round_columns` bit for bit.
"""

from __future__ import annotations

import ctypes

import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq.parameters import Rounder

_LANES = 64  # as in gptq.c
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


def round_columns(
    work: torch.Tensor,
    original: torch.Tensor,
    unit_lower: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    block_of: torch.Tensor,
    rounder: Rounder,
    codes: torch.Tensor,
) -> bool:
    """As `sweep.round_columns`, if there is a kernel for the tensors' device.

    All tensors are contiguous but ``unit_lower``, whose rows are.

    Returns:
        Whether it was done; if not, nothing was changed.
    """
    kernel = _kernel()
    if kernel is None or work.device.type != "cpu":
        return False
    columns, rows = work.shape
    scratch = torch.empty(columns, _LANES)
    levels, midpoints = rounder.levels, rounder.midpoints
    kernel(
        columns,
        rows,
        work.data_ptr(),
        original.data_ptr(),
        unit_lower.data_ptr(),
        unit_lower.stride(0),
        scale.data_ptr(),
        zero.data_ptr(),
        block_of.data_ptr(),
        rounder.highest,
        None if levels is None else levels.data_ptr(),
        None if midpoints is None else midpoints.data_ptr(),
        codes.data_ptr(),
        scratch.data_ptr(),
    )
    return True
