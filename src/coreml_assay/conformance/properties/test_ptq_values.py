"""Weights of a PyTorch model off the main road: not finite, narrow, tiny, huge, or zero."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.conformance.strategies import GRIDS, grid_id
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import bfloat16_coverage_steps, coverage_steps
from coreml_assay.conformance.torch_quantizing import (
    codes_of,
    compress,
    everywhere,
    expect_left,
    expect_quantized,
    with_weights,
)
from coreml_assay.numerics import Grid
from coreml_assay.numerics.blocks import Array


@pytest.mark.clause("T.29")
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_left(torch_subject: Subject, value: str) -> None:
    source = (
        "model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))\n"
        f"model[0].weight.data[1, 2] = {value}"
    )
    found = compress(torch_subject, source)
    expect_left(torch_subject, found, "0.weight")
    expect_quantized(torch_subject, found.weights, "1.weight")


@pytest.mark.clause("T.30")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_bfloat16_weights_are_quantized(torch_subject: Subject, grid: Grid) -> None:
    source = "model = torch.nn.Linear(64, 8).bfloat16()"
    found = compress(torch_subject, source, everywhere(**codes_of(grid)))
    weight = found.weights["weight"]
    torch_subject.expect_equal(
        (weight.dtype, weight.n_bits), ("torch.bfloat16", grid.bits), "dtype and width of a code"
    )
    _expect_near(
        torch_subject,
        found.before["weight"].values,
        weight.values,
        weight.scale,
        steps=bfloat16_coverage_steps(grid),
        precision=2**-8,
    )


MAGNITUDES = {"large": 40000.0, "medium": 300.0, "tiny": 3e-7}


@pytest.mark.clause("T.31")
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_any_float16_magnitude_is_representable(
    torch_subject: Subject, grid: Grid, magnitude: str
) -> None:
    weight = (np.linspace(-1, 0.4, 64) * MAGNITUDES[magnitude]).astype(np.float16)[None]
    source = with_weights("torch.nn.Linear(64, 1).half()", {"weight": weight})
    found = compress(torch_subject, source, everywhere(**codes_of(grid))).weights["weight"]
    torch_subject.expect(
        found.is_quantized, "the weight is not quantized", "a quantized weight", "a weight left"
    )
    _expect_near(
        torch_subject,
        weight,
        found.values,
        found.scale,
        steps=coverage_steps(grid, weight.dtype),
        precision=2**-11,
    )


def _expect_near(
    subject: Subject,
    weight: Array,
    found: Array,
    scale: Array | None,
    steps: float,
    precision: float,
) -> None:
    """Fail unless the scale is finite, positive, and every weight within so many steps.

    What a code stands for is itself rounded to the weight's dtype: half its precision, relative.
    """
    assert scale is not None, "the weight is not quantized"
    positive = bool((np.isfinite(scale) & (scale > 0)).all())
    subject.expect(positive, "a scale is not finite and positive", "a number above 0", scale)
    error = np.abs(found.astype(np.float64) - weight)
    allowed = steps * scale.astype(np.float64) + precision * np.abs(found.astype(np.float64))
    subject.expect(
        bool((error <= allowed).all()),
        "a weight lies too far from what its code stands for",
        expected=f"at most {float(allowed.max()):.3g} away",
        found=f"{float(error.max()):.3g} away",
    )


@pytest.mark.clause("T.14")
@pytest.mark.parametrize("grid", GRIDS, ids=grid_id)
def test_a_channel_of_zeros_stays_zeros(torch_subject: Subject, grid: Grid) -> None:
    source = "model = torch.nn.Linear(8, 4)\nmodel.weight.data[1] = 0"
    found = compress(torch_subject, source, everywhere(**codes_of(grid))).weights["weight"]
    torch_subject.expect_equal(found.is_quantized, True, "whether the weight is quantized")
    torch_subject.expect(
        not found.values[1].any(), "the channel of zeros changes", "zeros", found.values[1]
    )
