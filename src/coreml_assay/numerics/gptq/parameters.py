"""Scales and zero points of GPTQ's blocks, and rounding to codes with them.

Tensors here have columns first: shape (columns, rows), so that one column of the weight is
contiguous.
"""

from __future__ import annotations

import attrs
import torch

from coreml_assay.numerics.gptq.spec import GPTQSpec

# The quantiles of a normal distribution, scaled to [-1, 1]: 4 bits from arXiv 2305.14314,
# appendix E; 3 bits from the bitsandbytes library.
_NORMAL_FLOAT = {
    3: (-1.0, -0.4786292, -0.21714179, 0.0, 0.1609302, 0.33791524, 0.562617, 1.0),
    4: (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ),
}
_SMALLEST = torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps
_SHRINKS = tuple(1 - step / 50 for step in range(36))  # 1.00, 0.98, ..., 0.30


@attrs.frozen(eq=False)
class Rounder:
    """Rounds to the codes of one kind of grid.

    Attributes:
        highest: the highest code; the lowest is 0.
        middle: the zero point of symmetric scales; None if scales are not symmetric.
        levels: float32, the values of normal float; None for evenly spaced ones.
        midpoints: float32, half-way between neighbouring levels; None without levels.
    """

    highest: int
    middle: int | None
    levels: torch.Tensor | None = None
    midpoints: torch.Tensor | None = None

    @classmethod
    def of(cls, spec: GPTQSpec, device: torch.device) -> Rounder:
        """The rounder that a spec asks for."""
        grid = spec.grid
        if not spec.normal_float:
            return cls(grid.highest, grid.middle if grid.symmetric else None)
        levels = torch.tensor(_NORMAL_FLOAT[grid.bits], device=device)
        return cls(grid.highest, 0, levels, (levels[1:] + levels[:-1]) / 2)

    def codes(
        self,
        w: torch.Tensor,
        scale: torch.Tensor,
        zero: torch.Tensor,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The nearest codes, still in float32.

        Evenly spaced: clip(round(w / scale) + zero, 0, highest), halves to even. Normal float: the
        nearest level of w / scale, the lower of two that are as near.
        """
        ratio = torch.div(w, scale, out=out)
        if self.midpoints is not None:
            return ratio.copy_(torch.bucketize(ratio, self.midpoints))
        return ratio.round_().add_(zero).clamp_(0, self.highest)

    def values(self, codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """What codes, in floating point, stand for."""
        if self.levels is not None:
            return self.levels[codes.long()] * scale
        return (codes - zero).mul_(scale)

    def values_into(
        self, out: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor
    ) -> None:
        """The same of codes in uint8, written into ``out``."""
        if self.levels is not None:
            torch.mul(self.levels[codes.long()], scale, out=out)
        else:
            out.copy_(codes).sub_(zero).mul_(scale)

    def parameters(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point that spread the codes over the values of each row.

        The range is [-max|w|, max|w|] for symmetric scales, else [min(0, min w), max(0, max w)];
        a row of zeros has the range [-1, 1].

        Args:
            block: float32, shape (columns, rows).

        Returns:
            Two float32 tensors of shape (rows,), the scale finite and above 0.
        """
        low, high = block.amin(0), block.amax(0)  # aminmax is slow over columns
        if self.middle is not None:
            most = torch.maximum(high, -low)
            most.masked_fill_(most == 0, 1)
            if self.levels is not None:
                return most, torch.zeros_like(most)
            scale = most.mul_(2).div_(self.highest).clamp_(min=_SMALLEST)
            return scale, torch.full_like(scale, self.middle)
        low, high = low.clamp_(max=0), high.clamp_(min=0)
        zeros = low == high
        low.masked_fill_(zeros, -1)
        scale = high.masked_fill_(zeros, 1).sub_(low).div_(self.highest).clamp_(min=_SMALLEST)
        return scale, low.neg_().div_(scale).round_().clamp_(0, self.highest)

    def searched(
        self, block: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """The scale, out of shrunken ones, whose weighted squared rounding error is least.

        Args:
            block: float32, shape (columns, rows).
            scale: float32, shape (rows,), from `parameters`.
            zero: float32, shape (rows,).
            weights: float32, shape (columns,), of the squared errors.

        Returns:
            float32, shape (rows,), from 0.3 to 1 times the scale given.
        """
        best, least = scale, torch.full_like(scale, torch.inf)
        for shrink in _SHRINKS:
            candidate = (scale * shrink).clamp_(min=_SMALLEST)
            error = self.values(self.codes(block, candidate, zero), candidate, zero) - block
            loss = weights @ error.square_()
            best = torch.where(loss < least, candidate, best)
            least = torch.minimum(loss, least)
        return best
