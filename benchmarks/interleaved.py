"""The ratio of two calls, measured in turns in one process: what load there is slows both."""

import statistics
from time import process_time


def seconds(call):
    start = process_time()
    call()
    return process_time() - start


def ratio(ours, theirs, pairs=5):
    """Median of our CPU time / theirs, so that more is worse, as asv takes it to be.

    Each is called once before it counts.
    """
    ours(), theirs()
    return float(f"{statistics.median(seconds(ours) / seconds(theirs) for _ in range(pairs)):.3g}")
