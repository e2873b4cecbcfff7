"""The ratio of two calls, measured in turns in one process: what load there is slows both."""

import statistics
from time import process_time


def seconds(call):
    start = process_time()
    call()
    return process_time() - start


def ratio(theirs, ours, pairs=5):
    """Median of their CPU time / ours; each is called once before it counts."""
    theirs(), ours()
    return round(statistics.median(seconds(theirs) / seconds(ours) for _ in range(pairs)), 3)
