"""Makes the folder that is carried to a device: packages, inputs, and what they should answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
from coremltools.converters.mil.mil import Builder as mb

import coreml_assay
from coreml_assay.accuracy.models import package_sha256
from coreml_assay.accuracy.weights import CONFIGURATIONS, quantize_with
from coreml_assay.accuracy.weights import prepare as as_needed
from coreml_assay.files import replacing_folder, write_bytes
from coreml_assay.implementations import load_implementation
from coreml_assay.latency.plan import PRECISIONS, Plan, PlannedCase, package_path, write_samples
from coreml_assay.mil.errors import EvaluationError, UnsupportedOperation
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.precision import Precision
from coreml_assay.mil.program import (
    Model,
    PackageError,
    load_program,
    open_package,
    save_package,
)
from coreml_assay.mil.samples import model_of, placeholder

AS_IT_IS = "as it is"
CHOICES = (AS_IT_IS, *(each.name for each in CONFIGURATIONS))
INPUTS = 4  # samples with which outputs are compared; predictions are timed on the first


@attrs.frozen
class Wanted:
    """What to prepare.

    Attributes:
        models: name to package.
        configurations: of `CHOICES`; the reference quantizes.
        seed: of the inputs.
        rounds: of each run.
        samples_per_round: predictions that are timed in a round.
        pause_ns: between two rounds.
    """

    models: dict[str, Path]
    configurations: tuple[str, ...]
    seed: int
    rounds: int = 10
    samples_per_round: int = 24
    pause_ns: int = 2_000_000_000


def prepare(wanted: Wanted, folder: Path, told: Callable[[int, int], None]) -> Plan:
    """Write a prepared folder, whole or not at all.

    Args:
        wanted: what to prepare.
        folder: to write; replaced where there is one.
        told: the progress, done and total.

    Raises:
        PackageError: a model cannot be read, quantized or evaluated.
        OSError: the folder cannot be written.
    """
    total = len(wanted.models) * len(wanted.configurations)
    cases: list[PlannedCase] = []
    with replacing_folder(folder) as fresh:
        sentinel = _case("sentinel", AS_IT_IS, _sentinel(), fresh / "sentinel", wanted.seed)
        for name, package in wanted.models.items():
            for configuration in wanted.configurations:
                model = _configured(package, configuration)
                place = fresh / "cases" / str(len(cases))
                cases.append(_case(name, configuration, model, place, wanted.seed))
                told(len(cases), total)
        plan = Plan(
            tool_version=coreml_assay.__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            coremltools=version("coremltools"),
            seed=wanted.seed,
            rounds=wanted.rounds,
            samples_per_round=wanted.samples_per_round,
            pause_ns=wanted.pause_ns,
            sentinel=sentinel,
            cases=tuple(cases),
        )
        content = msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"
        write_bytes(fresh / "plan.json", content)
    return plan


def _configured(package: Path, configuration: str) -> Model:
    model = open_package(package)
    if configuration == AS_IT_IS:
        return model
    chosen = next(each for each in CONFIGURATIONS if each.name == configuration)
    try:
        return quantize_with(load_implementation("reference"), as_needed(model, chosen), chosen)
    except (TypeError, ValueError) as error:
        raise PackageError(f"{package}: cannot be quantized to {configuration}: {error}") from error


def _case(name: str, configuration: str, model: Model, place: Path, seed: int) -> PlannedCase:
    """Write one case's files."""
    save_package(model, package_path(place))
    for output in model.get_spec().description.output:
        if output.type.WhichOneof("Type") != "multiArrayType":
            raise PackageError(f"{name}: output {output.name!r} is no array, and is not compared")
    try:
        inputs = seeded_inputs(model, seed)
        expected = {each: _answers(model, inputs, Precision(each)) for each in PRECISIONS}
    except (UnsupportedOperation, EvaluationError, TypeError, ValueError) as error:
        raise PackageError(f"{name}, {configuration}: {error}") from error
    return PlannedCase(
        model=name,
        configuration=configuration,
        package_sha256=package_sha256(package_path(place)),
        inputs_sha256=write_samples(inputs, place / "inputs.safetensors"),
        **{
            f"{each}_sha256": write_samples(answers, place / f"{each}.safetensors")
            for each, answers in expected.items()
        },
    )


def _answers(
    model: Model, inputs: Sequence[dict[str, npt.NDArray[Any]]], precision: Precision
) -> list[dict[str, npt.NDArray[Any]]]:
    evaluator = Evaluator(load_program(model), precision)
    return [evaluator.predict(sample) for sample in inputs]


def seeded_inputs(model: Model, seed: int) -> list[dict[str, npt.NDArray[Any]]]:
    """Inputs for a model: normal, 0 and 1 where it takes integers, pixels where it takes images.

    Args:
        model: a coremltools ``MLModel`` of one function and without states.
        seed: of the generator.

    Returns:
        For each of `INPUTS` samples, input name to array.

    Raises:
        ValueError: the model has states, so that no two predictions are alike; or an input of a
            kind that there are no arrays for.
    """
    description = model.get_spec().description
    if description.state:
        raise ValueError(f"state {description.state[0].name!r} would change between predictions")
    generator = np.random.default_rng(seed)
    return [
        {each.name: _drawn(each.name, each.type, generator) for each in description.input}
        for _ in range(INPUTS)
    ]


def _drawn(name: str, kind: Any, generator: np.random.Generator) -> npt.NDArray[Any]:
    if kind.WhichOneof("Type") == "imageType":
        image = kind.imageType
        gray = "GRAYSCALE" in image.ColorSpace.Name(image.colorSpace)
        shape = (1, 1 if gray else 3, image.height, image.width)
        return generator.integers(0, 256, shape).astype(np.float32)
    array = kind.multiArrayType
    if kind.WhichOneof("Type") != "multiArrayType" or not array.shape:
        raise ValueError(f"input {name!r} is neither an array of known shape nor an image")
    if array.ArrayDataType.Name(array.dataType) == "INT32":
        return generator.integers(0, 2, tuple(array.shape)).astype(np.int32)
    return generator.standard_normal(tuple(array.shape)).astype(np.float32)


def _sentinel() -> Model:
    """Six float16 convolutions, always the same: what the machine does today."""
    generator = np.random.default_rng(0)
    weights = [
        (generator.standard_normal((32, 32, 3, 3)) / 17).astype(np.float16) for _ in range(6)
    ]

    def body(x: Any) -> list[Any]:
        for weight in weights:
            x = mb.relu(x=mb.conv(x=x, weight=weight, pad_type="same"))
        return [mb.identity(x=x, name="y")]

    return model_of({"x": placeholder((1, 32, 48, 48), np.float16)}, body, "iOS16")
