"""What the quantizers' configurations share."""

from __future__ import annotations

from enum import Enum, unique


@unique
class QuantizationScheme(Enum):
    """Where the zero point may lie.

    ``symmetric``: in the middle of the codes, so that both signs are treated alike.
    ``affine``: anywhere, so that the range of the weights uses all codes.
    """

    symmetric = "symmetric"
    affine = "affine"
