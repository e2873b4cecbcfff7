"""Times that nobody measured: seeded, with the kinds of noise that measured ones have."""

from __future__ import annotations

import numpy as np

from coreml_assay.gate.times import MOST_STARTS, settled
from coreml_assay.timing.records import Machine, Pair, SideFacts, TimeRecord, Workload

SECONDS = 0.01


def start_of_pairs(rng, start, ratio, *, noise=0.05, bias=0.01, pairs=20, seconds=SECONDS):
    """The pairs of one start of both processes.

    Load slows both halves of a pair alike, each process is a little off for as long as it lives,
    and now and then one half is hit by something that takes half as long again.
    """
    off = rng.normal(0, bias)
    found = []
    for _ in range(pairs):
        load = rng.uniform(1, 2)
        halves = load * np.exp(rng.normal(0, noise, 2)) * np.where(rng.random(2) < 0.05, 1.5, 1)
        before, after = (seconds * halves * [1, ratio * np.exp(off)]).tolist()
        found.append(Pair(start, True, 1, before, after, before, after))
    return found


def session(seed, ratio, **noise):
    """The pairs of a whole session, which ends as soon as they decide."""
    rng = np.random.default_rng(seed)
    pairs = []
    for start in range(MOST_STARTS):
        if settled(pairs):
            break
        pairs += start_of_pairs(rng, start, ratio, **noise)
    return pairs


def side(name, **facts):
    defaults = {
        "implementation": "reference",
        "version": "0",
        "kernels": "avx2",
        "numpy": "2",
        "torch": "2",
        "coremltools": "9.0",
    }
    return SideFacts(name=name, **{**defaults, **facts})


def workload(ratio=1.0, name="work", seed=0, **fields):
    return Workload(name=name, pairs=tuple(session(seed, ratio)), **fields)


def record(*workloads, cpu="a processor", **fields):
    return TimeRecord(
        tool_version="0",
        created="2026",
        seed=0,
        machine=Machine(cpu=cpu, cores=2, platform="p", machine="m", python="3"),
        before=side("old"),
        after=side("new"),
        workloads=workloads,
        **fields,
    )
