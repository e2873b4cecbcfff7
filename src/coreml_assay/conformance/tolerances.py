"""Every tolerance of the suite, with its reason. Codes, shapes and dtypes are equal, without any.

Steps are multiples of the scale. eps is the distance from 1 to the next number of the weight's
dtype: 2**-10 for float16, 2**-23 for float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coreml_assay.numerics import Grid


def nearest_code_steps(grid: Grid, dtype: np.dtype[Any]) -> float:
    """How far, in steps, a weight may lie from the value of its code.

    Half a step is the definition. The quotient w / s, of magnitude up to the number of steps, is
    itself rounded to the weight's dtype before it is rounded to a code.
    """
    return 0.5 + grid.steps * _eps(dtype) / 2


def coverage_steps(grid: Grid, dtype: np.dtype[Any]) -> float:
    """How far, in steps, any weight of a block may lie from what its code stands for.

    Beside the quotient's rounding, the scale (two rounded operations, so 1 eps) and the zero
    point (three) move the ends of the range by up to their relative error times the steps.
    """
    return 0.5 + 2 * grid.steps * _eps(dtype)


def bfloat16_coverage_steps(grid: Grid) -> float:
    """How far, in steps, a bfloat16 weight may lie from what its code stands for.

    Half a step, and what the ends of the range move by when the scale is rounded to 8 bits: they
    are half the grid away from zero if symmetric, else up to all of it.
    """
    return 0.5 + grid.steps * 2**-8 / (2 if grid.symmetric else 1)


def scale_relative(dtype: np.dtype[Any]) -> float:
    """Relative error of a scale: a difference, a division and the storing, half an eps each."""
    return 1.5 * _eps(dtype)


def zero_point_codes(grid: Grid, dtype: np.dtype[Any]) -> float:
    """How far a zero point may lie from where zero falls on the grid, in codes.

    Half a code is the definition; its numerator and denominator are rounded five times.
    """
    return 0.5 + 2.5 * grid.steps * _eps(dtype)


def observed_scale_relative() -> float:
    """Relative error of a scale observed on activations.

    The values observed come from float32 sums of up to 54 products and from library functions,
    each good to a few eps, in the order that the machine's kernels take them.
    """
    return 32 * 2.0**-23


def output_steps() -> float:
    """How far, in steps of the output's grid, a model may lie from what it was finalized to.

    One step is a rounding that falls the other way because of the last bit; the rest is the
    rounding of the difference of two outputs.
    """
    return 1 + 1e-4


def _eps(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps)


def gradient_relative() -> float:
    """Error of a learnable scale's gradient, relative to the sum of its terms' magnitudes.

    A term is the difference of x / s, up to 128 steps, and its rounding, in float32.
    """
    return 128 * 2.0**-23


RECIPE_SIGNAL_TO_NOISE = 20.0
"""Decibels that 8 bits reach with ease on small models: some 40 for one layer, and float16."""


GPTQ_LOSS = 0.02
"""How far proxy losses may lie apart, relative, where the mathematics says they are equal.

Sums taken in another order differ in their last bits; a target so near to the middle between two
codes that this decides is rounded otherwise, and all later columns follow. Each such flip moves
the loss a little, either way; a wrong Hessian or compensation moves it by tens of percent.
"""

GPTQ_CLEARANCE = 1e-3
"""How far, in steps, targets stay from near-ties where codes have to be equal.

A target of up to 255 steps is a sum of tens of products, each rounded in float32. In 10,240 rows
of the layers in use, under 16 specs each, the reference and coremltools 9.0 differ only where a
target comes within 2.2e-5 steps of a tie.
"""

GPTQ_SCALE = 1e-5
"""Relative error of a block's scale, which comes from weights that hundreds of float32 products
were added to; 7e-7 between the reference and coremltools 9.0."""

GPTQ_EQUAL_CODES = 0.99
"""The share of codes that are those of coremltools 9.0 on weights as they come.

A near-tie that falls the other way changes up to half of the later codes of its row, one of 128.
With inputs changed by float32's rounding the reference has at least 0.9975.
"""

GPTQ_LOSS_RATIO = 1.001
"""How much more a layer may lose than as coremltools 9.0 rounds it. One near-tie that falls the
other way moves the loss of 128 rows by up to 5.5e-4, up or down."""

GPTQ_UNSATURATED = 0.5
"""The share of the loss that is left, at most, where coremltools 9.0 clips a fifth of the weights;
0.1 with 4 bits, 0.0005 with 8."""

GPTQ_GAIN = 0.8
"""The share of rounding's loss that compensation leaves at most, on inputs that correlate.

On the layers in use it leaves 0.14 to 0.66 of it.
"""

FLOAT32_MODEL = 1e-5
"""Error of a float32 model's output, relative to the largest: sums of up to 256 products."""


def restored(values: np.ndarray[Any, Any]) -> float:
    """How far a float32 weight may lie from what its code stands for: a product, rounded."""
    return float(np.abs(values).max()) * _eps(np.dtype(np.float32))
