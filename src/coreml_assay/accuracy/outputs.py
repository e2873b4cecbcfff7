"""Outputs of a quantized model against the float model's, on a case's samples."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coreml_assay.accuracy.cases import Case
from coreml_assay.accuracy.configurations import Configuration, configurations_for, quantize
from coreml_assay.accuracy.known import known_loss
from coreml_assay.accuracy.metrics import Outputs, output_errors
from coreml_assay.accuracy.models import package_bytes
from coreml_assay.implementations import Implementation
from coreml_assay.mil.describe import digest
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.precision import Precision
from coreml_assay.mil.program import Model, load_program, save_package
from coreml_assay.records import AccuracyRun

Told = Callable[[int, int], None]  # done, total


def evaluate(model: Model, case: Case, precision: Precision = Precision.FLOAT32) -> list[Outputs]:
    """What a model answers to each sample of a case."""
    evaluator = Evaluator(load_program(model), precision)
    return [evaluator.predict(sample) for sample in case.samples]


def measure_case(
    case: Case, implementations: Sequence[Implementation], told: Told
) -> list[AccuracyRun]:
    """Quantize a case every way, with every implementation, and compare its outputs.

    The first run is the float program itself with every float16 value rounded as float16: what
    16 bits cost. Programs that are equal are evaluated once.

    Args:
        case: the model with its data.
        implementations: each with a Core ML face.
        told: the progress.
    """
    configurations = configurations_for(case)
    total, runs = 1 + len(configurations) * len(implementations), []
    reference = _Reference(case)
    runs.append(reference.in_float16())
    told(1, total)
    for configuration in configurations:
        for implementation in implementations:
            runs.append(reference.run(configuration, implementation))
            told(len(runs), total)
    return runs


class _Reference:
    """The float model's outputs, and those of each program that was met already."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._expected = evaluate(case.model, case)
        self._met: dict[str, dict[str, Any]] = {}
        size = _size(case.model)
        self._common: dict[str, Any] = {
            "model": case.name,
            # Of the program: a package written twice differs in random identifiers.
            "model_sha256": digest(load_program(case.model)),
            "trained": case.trained,
            "data": case.data,
            "float_bytes": size,
        }

    def in_float16(self) -> AccuracyRun:
        """The float model, every float16 value rounded as float16."""
        found = evaluate(self._case.model, self._case, Precision.FLOAT16)
        return AccuracyRun(
            **self._common,
            configuration="float16 arithmetic",
            bits=16,
            implementation="evaluator",
            version="",
            bytes=self._common["float_bytes"],
            **self._figures(found),
        )

    def run(self, configuration: Configuration, implementation: Implementation) -> AccuracyRun:
        """One way by one implementation; what it raises is the run's error."""
        name, version = implementation.name, implementation.version
        common = {
            **self._common,
            "configuration": configuration.name,
            "bits": configuration.bits,
            "implementation": name,
            "version": version,
            "known": known_loss(name, version, self._case.name, configuration.name),
        }
        start = time.perf_counter()
        try:
            quantized = quantize(implementation, self._case, configuration)
            seconds = time.perf_counter() - start
            return AccuracyRun(**common, **self._measured(quantized), seconds=seconds)
        except Exception as error:  # whatever an implementation raises belongs in the record
            return AccuracyRun(**common, error=f"{type(error).__name__}: {error}".split("\n", 1)[0])

    def _measured(self, quantized: Model) -> dict[str, Any]:
        key = digest(load_program(quantized))
        if key not in self._met:
            size = _size(quantized)
            figures = self._figures(evaluate(quantized, self._case))
            self._met[key] = {"bytes": size, **figures}
        return self._met[key]

    def _figures(self, found: Sequence[Outputs]) -> dict[str, Any]:
        task = self._case.task
        return {
            "outputs": output_errors(self._expected, found),
            "metric": None if task is None else task.metric,
            "float_score": None if task is None else task.score(self._expected),
            "score": None if task is None else task.score(found),
        }


def _size(model: Model) -> int:
    """The bytes of a model's package."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "model.mlpackage"
        save_package(model, package)
        return package_bytes(package)
