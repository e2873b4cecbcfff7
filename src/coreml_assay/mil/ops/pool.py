"""Pooling over one to three spatial dimensions. Source: ``pool`` of iOS15."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation
from coreml_assay.mil.ops._padding import for_torch, paddings

_AVG_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def max_pool(
    *,
    x: torch.Tensor,
    kernel_sizes: Sequence[int],
    pad_type: str,
    strides: Sequence[int] | None = None,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """The largest element in each window; padding never is."""
    strides = strides or (1,) * len(kernel_sizes)
    pairs, extra = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    reached = [(before, after + e) for (before, after), e in zip(pairs, extra, strict=True)]
    if any(map(any, reached)):
        x = functional.pad(x, for_torch(reached), value=-torch.inf)
    return _MAX_POOL[len(kernel_sizes)](x, kernel_sizes, strides)


def avg_pool(
    *,
    x: torch.Tensor,
    kernel_sizes: Sequence[int],
    pad_type: str,
    strides: Sequence[int] | None = None,
    pad: Sequence[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """The mean of each window.

    Padding counts as zeros unless excluded. What ceil_mode reaches beyond the padding never
    counts, as in PyTorch, whose mode it is.
    """
    strides = strides or (1,) * len(kernel_sizes)
    pool = _AVG_POOL[len(kernel_sizes)]
    pairs, extra = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    beyond = for_torch([(0, e) for e in extra])
    ones = x.new_ones((1, 1, *x.shape[2:]))
    if any(map(any, pairs)):
        x = functional.pad(x, for_torch(pairs))
        ones = functional.pad(
            ones, for_torch(pairs), value=0.0 if exclude_padding_from_average else 1.0
        )
    elif not any(extra):
        return pool(x, kernel_sizes, strides)
    share = pool(functional.pad(ones, beyond), kernel_sizes, strides)
    return pool(functional.pad(x, beyond), kernel_sizes, strides) / share


def l2_pool(
    *,
    x: torch.Tensor,
    kernel_sizes: Sequence[int],
    pad_type: str,
    strides: Sequence[int] | None = None,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """The square root of the sum of squares in each window."""
    strides = strides or (1,) * len(kernel_sizes)
    pairs, extra = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    reached = [(before, after + e) for (before, after), e in zip(pairs, extra, strict=True)]
    mean = _AVG_POOL[len(kernel_sizes)](
        functional.pad(x * x, for_torch(reached)), kernel_sizes, strides
    )
    count = torch.tensor(kernel_sizes).prod().item()
    return torch.sqrt(mean * count)


def _window(
    x: torch.Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    pad_type: str,
    pad: Sequence[int] | None,
    ceil_mode: bool,
) -> tuple[list[tuple[int, int]], list[int]]:
    """The padding of each spatial dimension, and what ceil_mode's last window needs beyond it."""
    pairs = paddings(pad_type, pad, x.shape[2:], kernel, strides)
    if not ceil_mode:
        return pairs, [0] * len(pairs)
    extra = []
    for size, k, stride, (before, after) in zip(x.shape[2:], kernel, strides, pairs, strict=True):
        padded = size + before + after
        length = -(-(padded - k) // stride) + 1
        if (length - 1) * stride >= size + before and before + after > 0:
            length -= 1  # the last window must start inside the input or the padding before it
        if (length - 1) * stride >= padded:
            raise ValueError("ceil_mode asks for a window that lies wholly outside the input")
        extra.append(max(0, (length - 1) * stride + k - padded))
    return pairs, extra


POOL: dict[str, Operation] = {"avg_pool": avg_pool, "l2_pool": l2_pool, "max_pool": max_pool}
