"""Print how fast a large float32 weight is rounded, next to coremltools and to a plain copy.

    OMP_NUM_THREADS=1 python benchmarks/rounding_table.py [ROWS COLUMNS]

CPU seconds of one thread: medians of repetitions that take turns in one process. Extra memory is
what numpy allocates at the peak of a call, as a share of the weight.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import tracemalloc

import numpy as np

from coreml_assay.implementations import load_implementation
from coreml_assay.implementations.protocol import WeightSpec
from coreml_assay.numerics import Grid, native, per_block, per_channel, round_to_nearest

REPETITIONS = 5
CASES = {
    "int8 per channel": WeightSpec(Grid(8, signed=True, symmetric=True), per_channel(2, 0)),
    "int4 block 32": WeightSpec(Grid(4, signed=True, symmetric=True), per_block(2, 0, 1, 32)),
    "int4 block 32 affine": WeightSpec(
        Grid(4, signed=True, symmetric=False), per_block(2, 0, 1, 32)
    ),
}


def seconds(function):
    """CPU seconds of this thread in one call."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def extra_memory(function):
    """The most bytes numpy holds during a call beyond what it held before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def contestants(weight, spec):
    """What is measured: name to a function without arguments."""
    coremltools = load_implementation("coremltools")
    reused = round_to_nearest(weight, spec.grid, spec.block_shape)
    copied = np.empty_like(weight)

    def ours():
        return round_to_nearest(weight, spec.grid, spec.block_shape)

    def with_torch():
        os.environ[native.VARIABLE] = "0"
        try:
            return ours()
        finally:
            del os.environ[native.VARIABLE]

    return {
        "coremltools": lambda: coremltools.quantize_weight(weight, spec),
        "torch": with_torch,
        native.active(): ours,
        "reused": lambda: round_to_nearest(weight, spec.grid, spec.block_shape, reused),
        "copy": weight.copy,
        "copy, reused": lambda: np.copyto(copied, weight),
    }


def main(rows=16384, columns=4096):
    """Measure and print."""
    weight = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    print(f"float32 {rows} x {columns}; kernels: {native.active()}")
    for name, spec in CASES.items():
        functions = contestants(weight, spec)
        times = {each: [] for each in functions}
        for _ in range(REPETITIONS):
            for each, function in functions.items():
                times[each].append(seconds(function))
        ratios = {
            each: statistics.median(
                theirs / own for theirs, own in zip(times["coremltools"], values, strict=True)
            )
            for each, values in times.items()
        }
        print(f"\n{name}\n{'':14}{'CPU s':>8}{'GB/s':>8}{'ratio':>8}{'extra':>8}")
        for each, function in functions.items():
            median = statistics.median(times[each])
            extra = extra_memory(function) / weight.nbytes
            print(
                f"{each:14}{median:8.3f}{weight.nbytes / median / 1e9:8.2f}"
                f"{ratios[each]:8.2f}{extra:8.2f}"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
