"""Matrix products added to a matrix: compiled for AVX-512, elsewhere PyTorch's.

PyTorch's own product of float32 matrices on a CPU is MKL's, which on AMD's processors does half of
what they can.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch

from coreml_assay.numerics import native

_BYTES = 4  # of a float
_SIZE, _ADDRESS, _FLOAT = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_float
_ARGUMENTS = (
    *(_SIZE, _SIZE, _SIZE, _FLOAT, _ADDRESS, _SIZE),
    *(_ADDRESS, _SIZE, _SIZE, _ADDRESS, _SIZE),
)


def add_product(
    out: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, negative: bool = False
) -> None:
    """Add a @ b, or subtract it.

    How sums are split depends on the shapes and layouts alone, so the same call has the same bits.
    It is fast where the entries of a row of ``out``, and of ``b``, lie next to each other.

    Args:
        out: float32, shape (m, n), changed in place.
        a: float32, shape (m, k).
        b: float32, shape (k, n).
        negative: whether to subtract.
    """
    kernel = _kernel(out.device)
    if kernel is None or out.stride(1) != 1 or b.stride(1) != 1:
        out.addmm_(a, b, alpha=-1 if negative else 1)
        return
    kernel(
        *(*out.shape, a.shape[1], -1.0 if negative else 1.0),
        *(out.data_ptr(), out.stride(0)),
        *(a.data_ptr(), *a.stride()),
        *(b.data_ptr(), b.stride(0)),
    )


def compensating(work: torch.Tensor, lower: torch.Tensor) -> Callable[[int, int, int], None]:
    """A function that adds to some rows of a matrix the product of others with factors.

    It is for many small products, each of which would take longer to prepare than to compute.

    Args:
        work: float32, shape (rows, columns), contiguous. It must stay alive and where it is.
        lower: float32, shape (rows, rows), the entries of a row next to each other; the same.

    Returns:
        Called with start, middle and stop it does what
        ``add_product(work[middle:stop], lower[middle:stop, start:middle], work[start:middle])``
        does.
    """
    kernel = _kernel(work.device)
    if kernel is None:
        return lambda start, middle, stop: add_product(
            work[middle:stop], lower[middle:stop, start:middle], work[start:middle]
        )
    columns, stride = work.shape[1], lower.stride(0)
    first, first_factor = work.data_ptr(), lower.data_ptr()

    def compensate(start: int, middle: int, stop: int) -> None:
        kernel(
            *(stop - middle, columns, middle - start, 1.0),
            *(first + _BYTES * middle * columns, columns),
            *(first_factor + _BYTES * (middle * stride + start), stride, 1),
            *(first + _BYTES * start * columns, columns),
        )

    return compensate


def _kernel(device: torch.device) -> native.Kernel | None:
    return native.kernel("gptq_add_product", *_ARGUMENTS) if device.type == "cpu" else None
