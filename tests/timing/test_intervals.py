"""The interval of a ratio holds the truth as often as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from coreml_assay.timing.intervals import ratio_interval


def test_it_is_the_one_from_the_binomial_distribution_of_order_statistics():
    ratios = np.exp(np.random.default_rng(0).normal(0.1, 0.3, 30))
    found = ratio_interval([1.0] * 30, ratios.tolist(), 0.98)
    # The tightest order statistics that each leave at most 1 % out.
    rank = int(stats.binom.ppf(0.01, 30, 0.5))
    ordered = np.sort(ratios)
    assert math.isclose(found.low, ordered[rank - 1])
    assert math.isclose(found.high, ordered[30 - rank])
    assert math.isclose(found.ratio, math.sqrt(ordered[14] * ordered[15]))


def test_it_holds_the_true_ratio_as_often_as_it_says():
    rng = np.random.default_rng(1)
    misses = 0
    for _ in range(1000):
        noise = rng.standard_t(2, 30) * 0.1  # tails as heavy as those of a busy machine
        found = ratio_interval([1.0] * 30, (1.3 * np.exp(noise)).tolist(), 0.9)
        misses += not found.low <= 1.3 <= found.high
    assert 50 <= misses <= 100  # exact, so a little more often: the binomial comes in steps


def test_swapping_the_sides_turns_the_ratio_over():
    rng = np.random.default_rng(2)
    before, after = rng.uniform(1, 2, (2, 20)).tolist()
    one, other = ratio_interval(before, after, 0.9), ratio_interval(after, before, 0.9)
    assert np.allclose(
        [one.ratio, one.low, one.high], [1 / other.ratio, 1 / other.high, 1 / other.low]
    )


def test_one_disturbed_pair_hardly_moves_it():
    times = np.random.default_rng(3).uniform(1, 1.1, 30).tolist()
    calm = ratio_interval([1.0] * 30, times, 0.9)
    disturbed = ratio_interval([1.0] * 30, [*times[:-1], 1000.0], 0.9)
    assert abs(disturbed.ratio - calm.ratio) < 0.02
    assert disturbed.high < 1.1


def test_few_pairs_have_a_ratio_and_no_interval():
    found = ratio_interval([1.0, 1.0], [2.0, 2.0], 0.99)
    assert math.isclose(found.ratio, 2)
    assert (found.low, found.high) == (0, math.inf)


def test_no_pair_is_no_ratio():
    with pytest.raises(ValueError, match="at least one pair"):
        ratio_interval([], [], 0.9)
