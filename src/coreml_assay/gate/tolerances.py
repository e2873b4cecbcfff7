"""How much a figure may differ before the gate calls it a regression, and why just that much.

What is not in this table is deterministic and compared exactly.
"""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """One allowed difference."""

    figure: str
    value: float
    unit: str
    reason: str


WORST_ERROR = Tolerance(
    figure="worst error of a compressed weight",
    value=0.75,
    unit="steps",
    reason=(
        "rounding to nearest costs at most half a step; a scale stored in float16 is off by up to "
        "2^-11 of itself, an eighth of a step at the farthest of 255 codes, and so is a value "
        "stored in float16; truncating or missing the zero point by one costs a whole step"
    ),
)

SNR = Tolerance(
    figure="signal-to-noise ratio of the weights, below the baseline",
    value=0.01,
    unit="dB",
    reason=(
        "sums taken in another order and ties rounded the other way move the ratio by thousandths "
        "of a decibel; one bit less costs 6"
    ),
)

TOLERANCES = (WORST_ERROR, SNR)
