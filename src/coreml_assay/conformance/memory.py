"""How much memory quantizing one weight takes beside the weight and its result."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import Any

import numpy as np

from coreml_assay.implementations import Face, Implementation, Unsupported, WeightSpec, faces
from coreml_assay.numerics import Grid

_SHAPE = (1024, 4096)
_CASES = {
    "int8 per channel": (Grid(8, True, True), (1, 0)),
    "int4 linear, blocks of 32": (Grid(4, False, False), (1, 32)),
}


def extra_memory_ratio(implementation: Implementation) -> dict[str, float]:
    """Peak of allocations during one call, result included, in copies of the weight.

    A float32 weight of 16 MiB; allocations as numpy reports them to tracemalloc.

    Returns:
        A figure for each of two configurations; empty without a tensor face, or where the work
        is done in another process.
    """
    elsewhere = getattr(implementation, "runs_elsewhere", False)
    if elsewhere or Face.TENSOR not in faces(implementation):
        return {}
    weight = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float32)
    figures = {}
    for name, (grid, block_shape) in _CASES.items():
        try:
            peak = _peak_bytes(implementation, weight, WeightSpec(grid, block_shape))
        except Unsupported:
            continue
        figures[f"extra memory, {name}"] = round(peak / weight.nbytes, 2)
    return figures


def _peak_bytes(
    implementation: Any, weight: np.ndarray[Any, np.dtype[np.float32]], spec: WeightSpec
) -> int:
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            implementation.quantize_weight(weight, spec)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
