"""The integer grid that codes live on: its lowest and highest code, and its middle.

One place for every API, because the ranges are where implementations differ most.
"""

from __future__ import annotations

import attrs
import numpy as np


def _check_bits(_grid: Grid, _attribute: attrs.Attribute[int], bits: int) -> None:
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must lie between 2 and 8, got {bits}")


@attrs.frozen
class Grid:
    """The codes a quantizer may use.

    A symmetric grid has as many codes below its zero point as above, so it gives up one code:
    [-127, 127] for int8, [0, 254] for uint8. An asymmetric grid uses all 2**bits codes, and so
    does a symmetric one with ``all_codes``, whose zero point has one more code below it than
    above: 8 in [0, 15] for uint4.

    Source: API reference of ``OpLinearQuantizerConfig``; coremltools 9.0 for the symmetric ranges.

    Attributes:
        bits: width of a code, 2 to 8.
        signed: whether codes may be negative.
        symmetric: whether the zero point sits in the middle of the grid.
        all_codes: whether a symmetric grid keeps the code without a counterpart.

    Raises:
        ValueError: bits outside 2 to 8.
    """

    bits: int = attrs.field(validator=_check_bits)
    signed: bool
    symmetric: bool
    all_codes: bool = False

    @property
    def lowest(self) -> int:
        """The lowest code."""
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + int(self._gives_up_a_code)

    @property
    def highest(self) -> int:
        """The highest code."""
        if self.signed:
            return (1 << (self.bits - 1)) - 1
        return (1 << self.bits) - 1 - int(self._gives_up_a_code)

    @property
    def _gives_up_a_code(self) -> bool:
        return self.symmetric and not self.all_codes

    @property
    def steps(self) -> int:
        """The number of steps between the lowest and the highest code."""
        return self.highest - self.lowest

    @property
    def middle(self) -> int:
        """The zero point of a symmetric grid: 0 if signed, 127 for uint8, 7 for uint4.

        With ``all_codes`` it is 128 for uint8 and 8 for uint4.
        """
        if self.signed:
            return 0
        return (self.highest + int(self.symmetric and self.all_codes)) // 2

    @property
    def stores_zero_point(self) -> bool:
        """Whether a zero point accompanies the codes; only signed symmetric grids need none."""
        return not (self.signed and self.symmetric)

    @property
    def dtype(self) -> np.dtype[np.int8] | np.dtype[np.uint8]:
        """The numpy dtype codes are held in: int8 or uint8, for narrower codes too."""
        return np.dtype(np.int8) if self.signed else np.dtype(np.uint8)

    @property
    def name(self) -> str:
        """The name users give the code type, for example ``uint4``."""
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    @classmethod
    def named(cls, name: str, *, symmetric: bool) -> Grid:
        """The grid of a code type, for example ``Grid.named("int4", symmetric=True)``.

        Raises:
            ValueError: the name is not one of int4, uint4, int8, uint8.
        """
        if name not in ("int4", "uint4", "int8", "uint8"):
            raise ValueError(f"code type must be int4, uint4, int8 or uint8, got {name!r}")
        return cls(bits=int(name[-1]), signed=not name.startswith("u"), symmetric=symmetric)
