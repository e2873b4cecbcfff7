"""Small ML programs with activations to quantize, and data for them.

Weights and data are small integers, so that every sum of products is exact, in float16 too: what
is made of them depends on no machine and no order of addition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from coreml_assay.mil.program import Model
from coreml_assay.mil.samples import model_of, placeholder
from coreml_assay.numerics.blocks import Array

SHAPE = (1, 3, 8, 8)
"""Of the one input of most programs."""

Sample = dict[str, Array]
Body = Callable[..., Any]  # takes a variable for each input, returns one result or several


def program(
    body: Body,
    shapes: Sequence[Sequence[int]] = (SHAPE,),
    dtype: str = "fp16",
    target: str = "iOS17",
    inputs: Mapping[str, Any] | None = None,
) -> Model:
    """A model with float32 inputs x, y, ... that are cast to fp16 first, as converters write it.

    Args:
        body: the program.
        shapes: of the inputs, at most four.
        dtype: "fp16", or else nothing is cast: "fp32" for what the inputs are by default.
        target: deployment target.
        inputs: placeholders by name, in place of the shapes.
    """

    def whole(*xs: Any) -> list[Any]:
        taken = list(xs)
        if dtype == "fp16":
            taken = [mb.cast(x=x, dtype="fp16", name=f"{x.name}_to_fp16") for x in xs]
        results = body(*taken)
        results = list(results) if isinstance(results, (list, tuple)) else [results]
        if dtype == "fp16":
            return [mb.cast(x=var, dtype="fp32", name=f"out_{i}") for i, var in enumerate(results)]
        return results

    named = inputs or {n: placeholder(shape) for n, shape in zip("xyzw", shapes, strict=False)}
    return model_of(dict(named), whole, target)


def integers(*shape: int, seed: int = 0, low: int = -2, high: int = 3) -> Array:
    """Small integers as float32, from low up to but not including high."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def conv(x: Any, name: str, channels: int = 4, size: int = 1, seed: int = 1) -> Any:
    """A convolution of a variable with a weight of small integers, ``<name>_weight``."""
    weight = integers(channels, x.shape[1], size, size, seed=seed)
    return mb.conv(x=x, weight=_constant(weight, x, f"{name}_weight"), name=name)


def linear(x: Any, name: str, features: int = 5, seed: int = 1) -> Any:
    """A linear op with a weight of small integers, ``<name>_weight``."""
    weight = integers(features, x.shape[-1], seed=seed)
    return mb.linear(x=x, weight=_constant(weight, x, f"{name}_weight"), name=name)


def _constant(value: Array, x: Any, name: str) -> Any:
    dtype = np.float16 if types.builtin_to_string(x.dtype) == "fp16" else np.float32
    return mb.const(val=value.astype(dtype), name=name)


def pool(x: Any) -> Any:
    """An average over squares of 2 by 2."""
    return mb.avg_pool(x=x, kernel_sizes=[2, 2], pad_type="valid", name="p")


def samples(model: Model, count: int = 3, seed: int = 5) -> list[Sample]:
    """Integer samples, the last of which has the widest ranges of all its tensors."""
    found = []
    for i in range(count):
        sample = {}
        for j, feature in enumerate(model.get_spec().description.input):
            shape = tuple(feature.type.multiArrayType.shape)
            sample[feature.name] = integers(*shape, seed=seed + j)
            if i < count - 1:
                sample[feature.name] *= np.float32(0.5)
        found.append(sample)
    return found


def data(*peaks: float) -> list[Sample]:
    """A sample for the input x for each peak, which is its largest magnitude, of either sign."""
    return [{"x": integers(*SHAPE) / np.float32(2) * np.float32(peak)} for peak in peaks]


def spread(low: float, high: float, shape: Sequence[int] = SHAPE) -> Array:
    """A float32 array of zeros but for its lowest and its highest value."""
    values = np.zeros(shape, np.float32)
    values.reshape(-1)[:2] = low, high
    return values


def pixels() -> Array:
    """An image of 8 by 8 in 8 bits, shape (8, 8, 3), whose channels have ranges of their own."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[0, :2] = [[200, 100, 40], [4, 60, 120]]
    return image
