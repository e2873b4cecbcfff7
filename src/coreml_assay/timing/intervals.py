"""How sure a ratio of times is: the median of paired ratios, with SciPy's interval around it.

The interval is the exact one from the binomial distribution of order statistics. It assumes
nothing of how times are distributed, and a pair that something else disturbed moves it no further
than any other pair.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import attrs
import numpy as np
from scipy import stats


@attrs.frozen
class Interval:
    """A ratio, and where the true one is believed to lie.

    Attributes:
        ratio: median over the pairs of after / before.
        low, high: ends of the interval; 0 and infinity where there are too few pairs for one.
    """

    ratio: float
    low: float
    high: float


def ratio_interval(before: Sequence[float], after: Sequence[float], confidence: float) -> Interval:
    """The ratio of paired times.

    Args:
        before: seconds, one for each pair; positive.
        after: the same of the other side.
        confidence: that the interval holds the true median, between 0 and 1.

    Raises:
        ValueError: there is no pair.
    """
    if not before:
        raise ValueError("a ratio needs at least one pair of times")
    logs = np.log(np.asarray(after, np.float64)) - np.log(np.asarray(before, np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few pairs have no interval
        found = stats.quantile_test(logs, q=0.0, p=0.5).confidence_interval(confidence)
    low, high = (float(end) for end in found)
    return Interval(
        ratio=math.exp(float(np.median(logs))),
        low=0.0 if math.isnan(low) else math.exp(low),
        high=math.inf if math.isnan(high) else math.exp(high),
    )
