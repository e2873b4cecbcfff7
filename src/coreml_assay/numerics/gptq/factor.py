"""The triangular factor of the damped Hessian, without an inverse.

H = L^T L with L lower triangular, so the loss of an error row e = w - w' is

    e H e^T = |e L^T|^2 = sum over k of (L_kk e_k + sum over j < k of L_kj e_j)^2

and column k, rounded after the columns before it, meets the target

    w_k + sum over j < k of e_j L_kj / L_kk.

That is GPTQ's update: its upper factor of H^-1 is the inverse of L^T. Nearest-plane algorithm of
Babai, see arXiv 2507.18553.
"""

from __future__ import annotations

import attrs
import torch

from coreml_assay.numerics.gptq.products import add_product
from coreml_assay.numerics.gptq.spec import GPTQError, is_finite
from coreml_assay.numerics.gptq.threads import shared_among_threads
from coreml_assay.numerics.gptq.tiles import halfway, lower_tiles

_BLOCK = 64  # rows factorized by the library, which is slow at it
_PANEL = 512  # columns that a thread solves at once
_TILE = 128  # columns of a square on the diagonal, half of which is wasted
_PADDING = 16  # floats after a row: rows a power of two apart share few places in a cache
_RAISE = 10.0  # each time the factorization fails, dampening grows by this factor
_FIRST = 1e-6  # from at least this share of the mean
_LIMIT = 1.0  # up to this one


@attrs.frozen(eq=False)
class Factor:
    """L, with each row divided by its diagonal entry, in the order of processing.

    Attributes:
        unit_lower: float32, shape (columns, columns), L_kj / L_kk for j < k; the diagonal and what
            is above it mean nothing.
        diagonal: float32, shape (columns,), L_kk.
        order: int64, shape (columns,), the column of the weight that is processed k-th; None where
            that is column k.
        dead: bool, shape (columns,), columns of the weight that no input reached.
        dampening: added to the diagonal, as a share of its mean.
        dampening_raised: how often it had to be raised.
    """

    unit_lower: torch.Tensor
    diagonal: torch.Tensor
    order: torch.Tensor | None
    dead: torch.Tensor
    dampening: float
    dampening_raised: int


def factorize(hessian: torch.Tensor, dampening: float, activation_order: bool) -> Factor:
    """Damp and factorize a Hessian.

    A dead column has a zero on the diagonal. It is cut off from the others, so that it neither
    receives nor passes on a compensation, and does not count in the mean that dampening is a share
    of. If the damped Hessian is not positive definite, the dampening is raised to
    max(1e-6, 10 * dampening) and again, at most to 1.

    Args:
        hessian: float32, shape (columns, columns), symmetric; only its lower triangle is read
            beyond the diagonal unless ``activation_order``. It is not changed.
        dampening: at least 0.
        activation_order: whether to process the largest diagonal entries first.

    Raises:
        GPTQError: NaN or infinities, a negative diagonal, or no positive definite matrix even
            with the largest dampening.
    """
    diagonal = hessian.diagonal().clone()
    if not is_finite(hessian):
        raise GPTQError("the Hessian holds NaN or infinite values")
    if (diagonal < 0).any():
        raise GPTQError("the Hessian has a negative diagonal, which no sum of squares has")
    dead = diagonal == 0
    mean = float(diagonal[~dead].mean()) if not dead.all() else 1.0
    order = torch.argsort(diagonal, descending=True, stable=True) if activation_order else None
    share, raised = dampening, 0
    while True:
        lower = _damped(hessian, order, dead, mean, share)
        if _factorize_in_place(lower):
            break
        if share >= _LIMIT:
            raise GPTQError(
                f"the Hessian is not positive definite even with dampening {share:g} times the "
                f"mean of its diagonal; {dampening:g} was asked for"
            )
        share, raised = min(max(_FIRST, _RAISE * share), _LIMIT), raised + 1
    diagonal = lower.diagonal().clone()
    lower /= diagonal[:, None]
    return Factor(lower, diagonal, order, dead, share, raised)


def _damped(
    hessian: torch.Tensor,
    order: torch.Tensor | None,
    dead: torch.Tensor,
    mean: float,
    share: float,
) -> torch.Tensor:
    """A copy of the Hessian in processing order, dead columns cut off, the diagonal damped."""
    if order is None:
        damped = hessian.new_empty(len(hessian), len(hessian) + _PADDING)[:, : len(hessian)]
        damped.copy_(hessian)
    else:
        damped = hessian[order[:, None], order[None, :]]
        dead = dead[order]
    diagonal = damped.diagonal()
    if dead.any():
        # Products with an input whose square underflows need not be zero.
        damped[dead] = 0
        damped[:, dead] = 0
        diagonal[dead] = mean
    diagonal += share * mean
    return damped


def _factorize_in_place(matrix: torch.Tensor) -> bool:
    """Replace a symmetric matrix's lower triangle by L with L^T L = matrix, from the last row up.

    Halves again and again, so that most of the work is in large products. With the matrix in
    halves, H22 = L22^T L22, then L21 = L22^-T H21, and L11 is the factor of H11 - L21^T L21.

    Returns:
        Whether the matrix is positive definite; if not, it is left half done.
    """
    inverses: dict[int, torch.Tensor] = {}  # L^-T of the blocks on the diagonal, by first row

    def factorize_block(start: int, stop: int) -> bool:
        block = matrix[start:stop, start:stop]
        # The factor of the matrix read backwards is the one that starts at the other end.
        backwards, failed = torch.linalg.cholesky_ex(block.flip(0, 1))
        if failed:
            return False
        upper = backwards.flip(0, 1)
        block.copy_(upper.t())
        identity = torch.eye(stop - start, device=matrix.device)
        inverses[start] = torch.linalg.solve_triangular(upper, identity, upper=True)
        return True

    def solve(start: int, stop: int, columns: slice) -> None:
        """Multiply rows by L^-T of these rows."""
        if stop - start <= _BLOCK:
            matrix[start:stop, columns] = inverses[start] @ matrix[start:stop, columns]
            return
        middle = halfway(start, stop, _BLOCK)
        solve(middle, stop, columns)
        lower, solved = matrix[middle:stop, start:middle], matrix[middle:stop, columns]
        add_product(matrix[start:middle, columns], lower.t(), solved, negative=True)
        solve(start, middle, columns)

    def factorize_rows(start: int, stop: int) -> bool:
        if stop - start <= _BLOCK:
            return factorize_block(start, stop)
        middle = halfway(start, stop, _BLOCK)
        if not factorize_rows(middle, stop):
            return False
        panels = [slice(at, min(at + _PANEL, middle)) for at in range(start, middle, _PANEL)]
        for_each(lambda columns: solve(middle, stop, columns), panels)
        remaining, below = matrix[start:middle, start:middle], matrix[middle:stop, start:middle]

        def eliminate(tile: tuple[slice, slice]) -> None:
            rows, columns = tile
            add_product(
                remaining[rows, columns], below[:, rows].t(), below[:, columns], negative=True
            )

        for_each(eliminate, lower_tiles(middle - start, _TILE))
        return factorize_rows(start, middle)

    with shared_among_threads() as for_each:
        positive = factorize_rows(0, len(matrix))
    return positive and bool(torch.isfinite(matrix.diagonal()).all())
