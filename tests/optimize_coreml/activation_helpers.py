"""Small programs whose activations are exact in fp16, and both implementations run on them."""

from __future__ import annotations

import coremltools.optimize as cto
import numpy as np

from coreml_assay.mil import pairs
from coreml_assay.mil.activation_programs import one_conv
from coreml_assay.mil.activation_samples import (
    SHAPE,
    conv,
    data,
    integers,
    linear,
    program,
    samples,
)
from coreml_assay.mil.prediction import evaluated_predictions
from coreml_assay.mil.program import load_program
from coreml_assay.optimize import coreml as ours

__all__ = ["SHAPE", "conv", "data", "integers", "linear", "one_conv", "program", "samples"]

# The calls of coremltools leave these behind, none of them on purpose.
ignore_noise = [
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::RuntimeWarning:coremltools.*",
]


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
    return pairs.described(load_program(model))


def operations(model):
    return pairs.operations(load_program(model))


def op_types(model):
    return pairs.op_types(load_program(model))


def scales(model):
    return pairs.scales(load_program(model))


def plain():
    return program(one_conv)


def signal_to_noise(signal, quantized):
    """In decibels."""
    noise = np.square(signal - quantized, dtype=np.float64).sum()
    return (
        np.inf if noise == 0 else 10 * np.log10(np.square(signal, dtype=np.float64).sum() / noise)
    )
