"""Weights of Core ML models are quantized without PyTorch, to the same bits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from coreml_assay.conformance.strategies import GRIDS
from coreml_assay.numerics import native, rounding

EXTREMES = np.array([[0, 0, 0, 0], [1e-7, -2e-7, 0, 6e-8], [60000, -60000, 1, 3], [1, 2, 3, -4]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("block_shape", [(0, 0), (1, 0), (1, 2)])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_numpy_gives_what_pytorch_gives(monkeypatch, grid, block_shape, dtype):
    monkeypatch.setenv(native.VARIABLE, "0")
    ordinary = np.random.default_rng(0).normal(size=(6, 8)).astype(dtype)
    for weight in (EXTREMES.astype(dtype), ordinary, ordinary.T, np.asfortranarray(ordinary)):
        with_torch = rounding.round_to_nearest(weight, grid, block_shape)
        with monkeypatch.context() as patch:
            patch.setattr(rounding, "find_spec", lambda name: None)
            patch.setitem(sys.modules, "torch", None)
            without = rounding.round_to_nearest(weight, grid, block_shape)
        for one, other in zip(with_torch, without, strict=True):
            assert (one is None) == (other is None)
            assert one is None or np.array_equal(one, other)


PROGRAM = """
import sys
sys.modules["torch"] = None  # as if it were not installed
import numpy as np
import coreml_assay.optimize as cto
from coreml_assay.mil.samples import single
config = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
model = cto.coreml.linear_quantize_weights(
    single(np.ones((4, 8), np.float32)), cto.coreml.OptimizationConfig(global_config=config)
)
operations = model._mil_program.functions["main"].operations
print(sum("constexpr" in operation.op_type for operation in operations))
"""


@pytest.mark.parametrize("path", ["0", ""])
def test_a_model_is_quantized_where_pytorch_is_not_installed(monkeypatch, path):
    if path:
        monkeypatch.setenv(native.VARIABLE, path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "1"
