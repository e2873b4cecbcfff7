"""Small programs whose activations are exact in fp16, and both implementations run on them."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.mil.prediction import evaluated_predictions
from coreml_assay.mil.program import all_operations, load_program
from coreml_assay.mil.samples import model_of, placeholder
from coreml_assay.optimize import coreml as ours

# The calls of coremltools leave these behind, none of them on purpose.
ignore_noise = [
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::RuntimeWarning:coremltools.*",
]


SHAPE = (1, 3, 8, 8)


def integers(*shape, seed=0, low=-2, high=3):
    """Small integers as floats: sums of their products are exact, in fp16 too."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def program(body, shapes=((1, 3, 8, 8),), dtype="fp16", target="iOS17", inputs=None):
    """A model with float32 inputs x, y, ... that are cast to fp16 first, as converters write it.

    Args:
        body: takes a variable for each input, returns one result or several.
        shapes: of the inputs.
        dtype: "fp16" or "fp32"; with the latter nothing is cast.
        target: deployment target.
        inputs: placeholders by name, in place of the shapes.
    """

    def whole(*xs):
        if dtype == "fp16":
            xs = [mb.cast(x=x, dtype="fp16", name=f"{x.name}_to_fp16") for x in xs]
        results = body(*xs)
        results = results if isinstance(results, (list, tuple)) else [results]
        if dtype == "fp16":
            results = [
                mb.cast(x=var, dtype="fp32", name=f"out_{i}") for i, var in enumerate(results)
            ]
        return results

    named = inputs or {n: placeholder(shape) for n, shape in zip("xyzw", shapes, strict=False)}
    return model_of(named, whole, target)


def conv(x, name, channels=4, size=1, seed=1):
    dtype = (
        np.float16
        if ct.converters.mil.mil.types.builtin_to_string(x.dtype) == "fp16"
        else (np.float32)
    )
    weight = integers(channels, x.shape[1], size, size, seed=seed).astype(dtype)
    return mb.conv(x=x, weight=mb.const(val=weight, name=f"{name}_weight"), name=name)


def linear(x, name, features=5, seed=1):
    weight = integers(features, x.shape[-1], seed=seed).astype(np.float16)
    return mb.linear(x=x, weight=mb.const(val=weight, name=f"{name}_weight"), name=name)


def samples(model, count=3, seed=5):
    """Integer samples, the last of which has the widest ranges of all its tensors."""
    inputs = model.get_spec().description.input
    found = []
    for i in range(count):
        sample = {}
        for j, feature in enumerate(inputs):
            shape = tuple(feature.type.multiArrayType.shape)
            sample[feature.name] = integers(*shape, seed=seed + j)
            if i < count - 1:
                sample[feature.name] *= 0.5
        found.append(sample)
    return found


def config(namespace, mode="linear_symmetric", dtype="int8", **others):
    return namespace.OptimizationConfig(
        global_config=namespace.OpLinearQuantizerConfig(mode=mode, dtype=dtype), **others
    )


def quantize(model, data=None, mode="linear_symmetric", dtype="int8", report=None):
    """By the reference."""
    return ours.linear_quantize_activations(
        model, config(ours, mode, dtype), samples(model) if data is None else data, report=report
    )


def quantize_by_coremltools(model, data=None, mode="linear_symmetric", dtype="int8"):
    """By coremltools, its predictions evaluated."""
    with evaluated_predictions():
        return cto.coreml.linear_quantize_activations(
            model, config(cto.coreml, mode, dtype), samples(model) if data is None else data
        )


def described(model):
    """One line for each op; what quantization makes is numbered, since its names are arbitrary."""
    numbers: dict[str, str] = {}
    lines = []
    for i, op in enumerate(operations(model)):
        inputs = {key: _shown(value, numbers) for key, value in sorted(op.inputs.items())}
        made = op.op_type in ("quantize", "dequantize")
        if made:
            numbers[op.outputs[0].name] = f"%{i}"
        names = [numbers.get(var.name, var.name) for var in op.outputs]
        lines.append(f"{op.op_type} {inputs} -> {names} {op.outputs[0].dtype.__name__}")
    return lines


def _shown(value, numbers):
    if isinstance(value, (list, tuple)):
        return [_shown(item, numbers) for item in value]
    if value is None or value.val is None:
        return value and numbers.get(value.name, value.name)
    array = np.asarray(value.val)
    return f"{array.dtype}{array.shape} {array.tolist()}"


def operations(model) -> list[Any]:
    """All ops but constants, in order."""
    return [
        op
        for function in load_program(model).functions.values()
        for op in all_operations(function)
        if op.op_type != "const"
    ]


def op_types(model) -> list[str]:
    return [op.op_type for op in operations(model)]


def scales(model) -> dict[str, Any]:
    """The scale of each quantize op by the tensor that it quantizes."""
    return {op.input.name: op.scale.val for op in operations(model) if op.op_type == "quantize"}


def data(*peaks):
    """A sample for each peak, which is its largest magnitude, of either sign."""
    unit = integers(*SHAPE) / 2
    return [{"x": unit * peak} for peak in peaks]


def one_conv(x):
    return conv(x, "a")


def plain():
    return program(one_conv)


def signal_to_noise(signal, quantized):
    """In decibels."""
    noise = np.square(signal - quantized, dtype=np.float64).sum()
    return (
        np.inf if noise == 0 else 10 * np.log10(np.square(signal, dtype=np.float64).sum() / noise)
    )
