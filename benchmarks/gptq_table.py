"""Print how long GPTQ takes on square layers, next to coremltools and llm-compressor.

    OMP_NUM_THREADS=1 python benchmarks/gptq_table.py [N [ROUNDS]]

CPU seconds of one thread: medians of rounds in which all take turns, stage by stage, in one
process. uint4 in blocks of 128, 4096 inputs in 8 samples. llm-compressor is measured where its
environment is installed (`coreml-assay implementations install llm-compressor`), and as a whole
only.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from coreml_assay.implementations import ImplementationError, load_implementation

try:  # before anything else is imported that its environment has as well
    LLM_COMPRESSOR = load_implementation("llm-compressor")
except ImplementationError as error:
    LLM_COMPRESSOR = None
    print(f"llm-compressor is not measured: {error}")

import torch

from benchmarks.gptq import SPEC, STAGES, coremltools, layer, reference
from benchmarks.interleaved import seconds
from coreml_assay.implementations.protocol import CalibratedWeightSpec
from coreml_assay.numerics import native
from coreml_assay.numerics.gptq.products import add_product

LABELS = {"reference": "compiled kernel", "torch": "PyTorch alone"}


def without_kernel(call):
    """The same call, with the compiled kernels switched off."""

    def switched_off():
        os.environ[native.VARIABLE] = "0"
        try:
            call()
        finally:
            del os.environ[native.VARIABLE]

    return switched_off


def contestants(weight, inputs):
    """What is measured: implementation and stage to a function without arguments."""
    ours = {stage: reference(stage, weight, inputs) for stage in STAGES}
    calls = {("coremltools", stage): coremltools(stage, weight, inputs) for stage in STAGES}
    calls |= {("reference", stage): call for stage, call in ours.items()}
    calls |= {("torch", stage): without_kernel(call) for stage, call in ours.items()}
    if LLM_COMPRESSOR is not None:
        spec = CalibratedWeightSpec(SPEC.grid, (1, SPEC.block_columns))
        arrays = weight.numpy(), list(inputs.numpy())
        calls["llm-compressor", "whole"] = lambda: LLM_COMPRESSOR.gptq(*arrays, spec)
    return calls


def main(n: int = 1024, rounds: int = 5) -> None:
    """Measure one size."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    calls = contestants(*layer(n))
    matrix, product = torch.randn(n, n), torch.zeros(n, n + 16)[:, :n]
    # Rows a power of two apart share few places in a cache.
    padded = torch.nn.functional.pad(matrix, (0, 16))[:, :n]
    calls["matrix product", "PyTorch's"] = lambda: matrix @ matrix
    calls["matrix product", "ours"] = lambda: add_product(product, padded, padded)
    times = {key: [] for key in calls}
    for stage in dict.fromkeys(stage for _, stage in calls):
        for _ in range(rounds):
            for key, call in calls.items():
                if key[1] == stage:
                    times[key].append(seconds(call))
    median = {key: statistics.median(found) for key, found in times.items()}
    print(f"n = {n}, {rounds} rounds; kernel: {native.active()}")
    for (who, stage), value in median.items():
        if who == "matrix product":
            note = f"{2e-9 * n**3 / value:5.0f} GFLOP/s"
        else:
            note = f"{median['coremltools', stage] / value:5.2f} times as fast as coremltools"
        print(f"{LABELS.get(who, who):16} {stage:11} {value:9.4f} s {note}")
    print(f"needed at the speed of the fastest product: {needed(n, median):.4f} s")


def needed(n, median):
    """Seconds for half a Hessian, a factor and a sweep, each n^3 being half a product's."""
    fastest = min(value for (who, _), value in median.items() if who == "matrix product")
    return (4096 / n + 1 / 3 + 1) * fastest / 2


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
