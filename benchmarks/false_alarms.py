"""Count how often the time gate is wrong: python benchmarks/false_alarms.py [IDENTICAL SLOWED].

Comparisons as `coreml-assay bench` makes them: IDENTICAL (100) of the same code, SLOWED (20) with
a slowdown of 15 % put in; then the same with the machine loaded by a second process. Exit code 1
where more than 1 % of the first are called slower, or less than 95 % of the second. Ctrl-C shows
what was counted until then.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np

from coreml_assay.gate.times import MOST_STARTS, Finding, compare_times, settled
from coreml_assay.timing.session import Effort, compare
from coreml_assay.timing.sides import Side

WORKLOAD = "round-int8-per-channel"
LINE = "{:<22}{:>12}{:>10}{:>12}{:>8}{:>16}"


def load():
    """Keep a core busy by turns: arithmetic in the caches, copies through memory."""
    matrix, large = np.ones((512, 512), np.float32), np.ones(2**24, np.float32)
    while True:
        for _ in range(20):
            matrix @ matrix
        large.copy()


@contextmanager
def loaded(wanted):
    process = multiprocessing.Process(target=load, daemon=True)
    if not wanted:
        yield
        return
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def one(after, seed):
    """What the gate finds on one comparison, measured as the command measures it."""
    record = compare(
        Side(name="before", implementation="slowed:AsItIs"),
        Side(name="after", implementation=f"slowed:{after}"),
        (WORKLOAD,),
        seed=seed,
        settled=settled,
        progress=lambda *_: None,
        effort=Effort(starts=MOST_STARTS),
    )
    if record.interrupted:
        raise KeyboardInterrupt
    return compare_times(record.workloads[0].pairs)


def many(after, count, name):
    """The findings of a number of comparisons, shown as one line; and whether all were made."""
    found, start, complete = [], time.monotonic(), True
    try:
        for seed in range(count):
            found.append(one(after, seed))
            if sys.stderr.isatty():
                print(f"\r{name}: {seed + 1} of {count}", end="\r", file=sys.stderr)
    except KeyboardInterrupt:
        complete = False
    counts = Counter(each.finding for each in found)
    ratios = [each.interval.ratio for each in found] or [float("nan")]
    undecided = counts[Finding.UNDECIDED]
    slower = f"{counts[Finding.SLOWER]} of {len(found)}"
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    each = (time.monotonic() - start) / max(len(found), 1)
    middle = f"{statistics.median(ratios):.3f}"
    print(LINE.format(name, slower, undecided, middle, f"{each:.1f}", spread), flush=True)
    return counts[Finding.SLOWER], complete


def main(identical=100, slowed=20):
    """Measure, print, and exit."""
    print(LINE.format("", "slower", "undecided", "med. ratio", "s each", "ratios"))
    wrong = False
    for busy in (False, True):
        suffix = ", loaded" if busy else ""
        with loaded(busy):
            alarms, complete = many("AsItIs", identical, f"identical{suffix}")
            seen = slowed
            if complete:
                seen, complete = many("Slowed", slowed, f"15 % slower{suffix}")
        wrong |= alarms > identical / 100 or seen < 0.95 * slowed
        if not complete:
            sys.exit(130)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
