"""Golden cases of activation quantization, made with real coremltools.

Whatever coremltools predicts, to calibrate, is evaluated by mil: on small integers, so that no
machine makes other numbers of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coreml_assay.goldens.activations import (
    ALL_KINDS,
    KINDS,
    ActivationCase,
    ActivationCases,
    QuantizedProgram,
)
from coreml_assay.goldens.store import GoldenError
from coreml_assay.implementations import Face, faces, predicting
from coreml_assay.mil.activation_programs import EVERY_WAY, PROGRAMS
from coreml_assay.mil.activation_samples import Body, program, samples
from coreml_assay.mil.pairs import described
from coreml_assay.mil.program import Model, load_program
from coreml_assay.numerics.blocks import Array


def activation_cases(coremltools: Any, _arrays: dict[str, Array]) -> ActivationCases:
    """Quantize the activations of every sample program with coremltools.

    Args:
        coremltools: the implementation.

    Raises:
        GoldenError: torch is not installed, or this version does not quantize activations.
    """
    if Face.TORCH not in faces(coremltools):
        raise GoldenError("torch is not installed: pip install coreml-assay[torch]")
    if not hasattr(coremltools.optimize.coreml, "linear_quantize_activations"):
        raise GoldenError(
            f"{coremltools.name} {coremltools.version} has no linear_quantize_activations"
        )
    with predicting(coremltools), np.errstate(all="ignore"):
        return ActivationCases(
            programs=tuple(_case(coremltools, name, body) for name, body in PROGRAMS.items())
        )


def _case(coremltools: Any, name: str, body: Body) -> ActivationCase:
    model = program(body)
    kinds = ALL_KINDS if name in EVERY_WAY else KINDS
    return ActivationCase(
        name=name,
        given=tuple(described(load_program(model))),
        quantized=tuple(_quantized(coremltools, model, mode, dtype) for mode, dtype in kinds),
    )


def _quantized(coremltools: Any, model: Model, mode: str, dtype: str) -> QuantizedProgram:
    coreml = coremltools.optimize.coreml
    op_config = coreml.OpLinearQuantizerConfig(mode=mode, dtype=dtype)
    config = coreml.OptimizationConfig(global_config=op_config)
    found = coreml.linear_quantize_activations(model, config, samples(model))
    return QuantizedProgram(mode=mode, dtype=dtype, lines=tuple(described(load_program(found))))
