"""Matrix products added to a matrix, by the library that is fastest at them.

PyTorch's own product of float32 matrices on a CPU is MKL's, which on AMD's processors does half of
what they can. oneDNN, which PyTorch brings along and torch.compile has linear layers computed by,
does nearly all of it there; on others it was not measured. It cannot add to what is there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

_Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_LEAST = 1 << 23  # products of numbers; with fewer oneDNN gains little
# At a time: a product and copies of both matrices take memory, and each new shape 0.7 MB of code.
_ROWS, _TERMS = 512, 512


def add_product(
    out: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, negative: bool = False
) -> None:
    """Add a @ b, or subtract it.

    Which library computes it depends on the shapes alone, so the same call has the same bits.

    Args:
        out: float32, shape (m, n), changed in place.
        a: float32, shape (m, k).
        b: float32, shape (k, n).
        negative: whether to subtract.
    """
    product = _onednn() if out.device.type == "cpu" else None
    if product is None or a.numel() * b.shape[1] < _LEAST:
        out.addmm_(a, b, alpha=-1 if negative else 1)
        return
    for few, those in zip(a.split(_TERMS, 1), b.split(_TERMS), strict=True):
        for part, rows in zip(out.split(_ROWS), few.split(_ROWS), strict=True):
            if negative:
                part.sub_(product(rows, those))
            else:
                part.add_(product(rows, those))


@functools.cache
def _onednn() -> _Product | None:
    """Two matrices multiplied by oneDNN, if this build of PyTorch has it as expected."""
    if not torch.backends.mkldnn.is_available():
        return None
    ones = torch.ones(2, 3)
    try:
        as_expected = torch.equal(_product(ones, ones.t()), torch.full((2, 2), 3.0))
    except (AttributeError, RuntimeError, TypeError):  # it is no part of the public interface
        return None
    return _product if as_expected else None


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, _as_weight(b), None, "none", [], "")
    return found


def _as_weight(b: torch.Tensor) -> torch.Tensor:
    """The transpose, contiguous one way or the other; else oneDNN is a thousand times slower."""
    return b.t() if b.t().is_contiguous() else b.contiguous().t()
