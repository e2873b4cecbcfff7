"""Which weights and activations cost most: each quantized alone, worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from coreml_assay.accuracy.cases import Case
from coreml_assay.accuracy.metrics import output_errors
from coreml_assay.accuracy.outputs import Told, evaluate
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import IOS17, IOS18, Model, Program, load_program, retarget
from coreml_assay.optimize import coreml
from coreml_assay.optimize.coreml.activation_pairs import (
    quantize_activations,
    tensors_to_calibrate,
)
from coreml_assay.optimize.coreml.calibration import calibrate
from coreml_assay.records import Sensitivity

_THRESHOLD = 512


def sensitivities(case: Case, told: Told) -> list[Sensitivity]:
    """Quantize each weight to int4 per channel, and the activations of each op to int8, alone.

    Args:
        case: the model; its first ``probes`` samples are evaluated.
        told: the progress.

    Returns:
        One entry for each, the worst first.
    """
    probed = attrs.evolve(case, samples=case.samples[: case.probes])
    expected = evaluate(case.model, probed)
    newest = max(case.model.get_spec().specificationVersion, IOS18)
    weights = list(_weights(retarget(case.model, newest)))
    activations = list(_activations(case))
    found = []
    for kind, name, codes, program in (*weights, *activations):
        evaluator = Evaluator(program())
        errors = output_errors(expected, [evaluator.predict(each) for each in probed.samples])
        ratios = [each.snr_db for each in errors if each.snr_db is not None]
        found.append(
            Sensitivity(
                model=case.name,
                kind="weight" if kind == "weight" else "activation",
                name=name,
                codes=codes,
                snr_db=min(ratios, default=None),
            )
        )
        told(len(found), len(weights) + len(activations))
    return sorted(found, key=lambda each: float("inf") if each.snr_db is None else each.snr_db)


_Alone = tuple[str, str, str, Callable[[], Program]]


def _weights(model: Model) -> Iterator[_Alone]:
    config = coreml.OpLinearQuantizerConfig(dtype="int4", weight_threshold=_THRESHOLD)
    report = coreml.CompressionReport()
    whole = coreml.OptimizationConfig(global_config=config)
    coreml.linear_quantize_weights(model, whole, report=report)
    for name in report.compressed:

        def alone(name: str = name) -> Program:
            only = coreml.OptimizationConfig(op_name_configs={name: config})
            return load_program(coreml.linear_quantize_weights(model, only))

        yield "weight", name, "int4 per channel", alone


def _activations(case: Case) -> Iterator[_Alone]:
    config = coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
    program = load_program(case.model, at_least=IOS17)
    ranges = calibrate(program, case.calibration, tensors_to_calibrate(program))
    report = coreml.CompressionReport()
    whole = coreml.OptimizationConfig(global_config=config)
    quantize_activations(program, whole, ranges, report)
    for name in report.activations:

        def alone(name: str = name) -> Program:
            only = coreml.OptimizationConfig(op_name_configs={name: config})
            fresh = load_program(case.model, at_least=IOS17)
            quantize_activations(fresh, only, ranges, coreml.CompressionReport())
            return fresh

        yield "activation", name, "int8", alone
