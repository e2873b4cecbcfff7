"""The protocol of a measurement: how much of everything is enough, and why.

Core ML compiles, caches and clocks up during the first predictions, so they are kept apart; one
round may meet another program's burst, so there are several, spaced.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from coreml_assay.latency_records import Placement

LEAST_WARM_UP = 20  # predictions before the first sample
MOST_WARM_UP = 400  # a median that has not settled by then will not
WINDOW = 10  # predictions in a rolling median
SETTLED = 0.02  # largest change between two windows' medians
LEAST_ROUNDS = 3
LEAST_SAMPLES = 200
SENTINEL_SAMPLES = 200
MOST_DRIFT = 0.05  # of the sentinel's median from before to after
NEURAL_ENGINE_SHARE = 0.9  # of the estimated cost, for a run to be called Neural Engine


def settled(durations: Sequence[int]) -> bool:
    """Whether a warm-up was long enough and its rolling median has stopped moving.

    Args:
        durations: of the predictions so far, in order.
    """
    if len(durations) < max(LEAST_WARM_UP, 2 * WINDOW):
        return False
    last = statistics.median(durations[-WINDOW:])
    before = statistics.median(durations[-2 * WINDOW : -WINDOW])
    return abs(last / before - 1) <= SETTLED


def drift(before: Sequence[int], after: Sequence[int]) -> float:
    """How far a median has moved, as a share of what it was."""
    return statistics.median(after) / statistics.median(before) - 1


def neural_engine_shares(placement: Placement) -> tuple[float | None, float | None]:
    """The Neural Engine's share of a plan: by number of operations and by estimated cost.

    Returns:
        None for a share of nothing: no operation, or none with a cost.
    """
    there = [each.preferred == "neural engine" for each in placement.operations]
    costs = [each.cost or 0.0 for each in placement.operations]
    total = sum(costs)
    by_cost = sum(cost for cost, is_there in zip(costs, there, strict=True) if is_there)
    return (sum(there) / len(there) if there else None, by_cost / total if total else None)


def is_neural_engine(placement: Placement | None) -> bool:
    """Whether a run with this plan may be called a Neural Engine's."""
    share = None if placement is None else neural_engine_shares(placement)[1]
    return share is not None and share >= NEURAL_ENGINE_SHARE
