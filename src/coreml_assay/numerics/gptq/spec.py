"""What GPTQ is asked for, and what it gives back."""

from __future__ import annotations

import attrs
import torch

from coreml_assay.numerics.grid import Grid


class GPTQError(ValueError):
    """GPTQ cannot be run on what it was given; the message says which part and why."""


@attrs.frozen
class GPTQSpec:
    """How a weight of shape (rows, columns) is to be quantized.

    Attributes:
        grid: unsigned codes; all 2**bits of them, so a symmetric grid has ``all_codes``.
        per_tensor: one scale for all rows, rather than one for each.
        block_columns: how many columns share a scale; None for all of them.
        processing_group_size: how many columns are compensated one by one before the others are
            compensated for all of them at once. Changes the result only through float32
            rounding. Groups end where blocks end, and none is larger than 32, since the products
            that compensate the others are faster.
        hessian_dampening: what is added to the Hessian's diagonal, as a share of its mean over
            the columns that calibration reached.
        activation_order: round the columns with the largest diagonal first. Scales are then
            taken from the original weights, as with ``static_scales``.
        static_scales: take every block's scale from the original weights, rather than from the
            weights as compensated when the block is entered.
        scale_search: shrink each scale to where the weighted squared error of rounding is least,
            each column weighted by its share in the loss.
        normal_float: codes index the fixed values of the normal-float type, scaled by max|w|;
            3 or 4 bits.

    Raises:
        GPTQError: a signed grid or one without all codes, a size below 1, a dampening that is
            negative or not finite, or normal float with other than 3 or 4 bits.
    """

    grid: Grid = attrs.field()
    per_tensor: bool = False
    block_columns: int | None = attrs.field(default=None)
    processing_group_size: int = attrs.field(default=128)
    hessian_dampening: float = attrs.field(default=0.01)
    activation_order: bool = False
    static_scales: bool = False
    scale_search: bool = False
    normal_float: bool = attrs.field(default=False)

    @grid.validator
    def _check_grid(self, _attribute: attrs.Attribute[Grid], grid: Grid) -> None:
        if grid.signed or grid.highest != 2**grid.bits - 1:
            raise GPTQError(
                f"grid must be unsigned and use all codes from 0 to {2**grid.bits - 1}, got {grid}"
            )

    @block_columns.validator
    @processing_group_size.validator
    def _check_size(self, attribute: attrs.Attribute[int | None], size: int | None) -> None:
        if size is not None and size < 1:
            raise GPTQError(f"{attribute.name} must be at least 1, got {size}")

    @hessian_dampening.validator
    def _check_dampening(self, _attribute: attrs.Attribute[float], share: float) -> None:
        if not 0 <= share < float("inf"):
            raise GPTQError(f"hessian_dampening must be finite and at least 0, got {share}")

    @normal_float.validator
    def _check_normal_float(self, _attribute: attrs.Attribute[bool], normal_float: bool) -> None:
        if normal_float and self.grid.bits not in (3, 4):
            raise GPTQError(f"normal_float needs 3 or 4 bits, got {self.grid.bits}")

    @property
    def scales_come_first(self) -> bool:
        """Whether all scales are known before the first column is rounded."""
        return self.block_columns is None or self.static_scales or self.activation_order


@attrs.frozen(eq=False)
class GPTQResult:
    """A quantized weight.

    Attributes:
        codes: uint8, shape (rows, columns).
        scale: float32, shape (rows, blocks), finite and above 0.
        zero_point: float32 whole numbers, shape (rows, blocks); 0 for normal float.
        weight: float32, shape (rows, columns); scale * (codes - zero_point), or for normal float
            scale * lut[codes].
        dead: bool, shape (columns,); the columns that no calibration input reached. They are
            rounded to nearest.
        dampening: what was added to the Hessian's diagonal, as a share of its mean.
        dampening_raised: how often the dampening asked for was too little and was raised.
        lut: float32, shape (2**bits,), the values of normal float; otherwise None.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor
    weight: torch.Tensor
    dead: torch.Tensor
    dampening: float
    dampening_raised: int
    lut: torch.Tensor | None = None


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all elements are finite; needs no memory beside the tensor, which is not empty."""
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) and torch.isfinite(high))
