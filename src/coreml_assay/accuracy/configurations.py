"""The ways a whole model is quantized when its outputs are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from coreml_assay.accuracy.cases import Case, Sample
from coreml_assay.implementations import predicting
from coreml_assay.mil.program import IOS18, Model, retarget

_THRESHOLD = 512  # elements; what coremltools' guide takes. Most of these networks are small.


@attrs.frozen
class Configuration:
    """One way to quantize activations and weights.

    Attributes:
        name: for reports.
        bits: of the narrowest codes; 16 where there are none.
        weights: options of the weights' OpLinearQuantizerConfig, None to leave them.
        activations: whether they become int8.
        faint_last: whether a faint sample comes last in calibration.
    """

    name: str
    bits: int
    weights: dict[str, Any] | None
    activations: bool = False
    faint_last: bool = False


_INT4 = {"dtype": "int4"}
_BLOCKS = {"dtype": "int4", "granularity": "per_block", "block_size": 8}
CONFIGURATIONS = (
    Configuration("int8 per channel", 8, {}),
    Configuration("int4 per channel", 4, _INT4),
    Configuration("int4 per block 8", 4, _BLOCKS),
    Configuration("W8A8", 8, {}, activations=True),
    Configuration("W4A8", 4, _INT4, activations=True),
    Configuration("W8A8, faint last sample", 8, {}, activations=True, faint_last=True),
)


def configurations_for(case: Case) -> tuple[Configuration, ...]:
    """The configurations that a case is meant and has the data for."""
    return tuple(
        each
        for each in CONFIGURATIONS
        if (case.activations or not each.activations)
        and (case.faint is not None or not each.faint_last)
    )


def quantize(implementation: Any, case: Case, configuration: Configuration) -> Model:
    """Quantize a case's model: activations first, then weights, as coremltools' guide does.

    Whatever predicts on the way (coremltools does, to calibrate) predicts by the evaluator.
    """
    coreml, model = implementation.optimize.coreml, case.model
    if configuration.bits < 8 and model.get_spec().specificationVersion < IOS18:
        model = retarget(model, IOS18)
    if configuration.activations:
        everywhere = coreml.OptimizationConfig(
            global_config=coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
        )
        with predicting(implementation):
            model = coreml.linear_quantize_activations(
                model, everywhere, _copies(case, configuration)
            )
    if configuration.weights is not None:
        options = {"weight_threshold": _THRESHOLD, **configuration.weights}
        op_config = coreml.OpLinearQuantizerConfig(**options)
        whole = coreml.OptimizationConfig(global_config=op_config)
        model = coreml.linear_quantize_weights(model, whole)
    return model


def _copies(case: Case, configuration: Configuration) -> Sequence[Sample]:
    """The samples to calibrate with, in dictionaries that may be written to."""
    last = [case.faint] if configuration.faint_last and case.faint is not None else []
    return [dict(sample) for sample in [*case.calibration, *last]]
