"""The folder that is carried to a device: what is in it, and reading it without trust.

    plan.json                     what to run, with a checksum of every other file
    sentinel/                     a case like the others
    cases/0/                      package.mlpackage, inputs.safetensors, and what the evaluator
                                  answers: float32.safetensors, float64.safetensors

Names of files follow from their place in the plan; none is read from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from coreml_assay.accuracy.models import package_sha256
from coreml_assay.files import write_bytes
from coreml_assay.latency_records import Sha256
from coreml_assay.records import RecordError

PLAN_VERSION = 1
PRECISIONS = ("float32", "float64")

Samples = list[dict[str, npt.NDArray[Any]]]  # for each sample, name to array


class PlannedCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One package with its inputs and the evaluator's answers, by their checksums."""

    model: str
    configuration: str
    package_sha256: Sha256
    inputs_sha256: Sha256
    float32_sha256: Sha256
    float64_sha256: Sha256


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to collect, and with which versions."""

    schema_version: int = PLAN_VERSION
    tool_version: str
    created: str  # ISO 8601, UTC
    coremltools: str  # that wrote the packages, and is to predict
    seed: int
    rounds: Annotated[int, msgspec.Meta(ge=1)]
    samples_per_round: Annotated[int, msgspec.Meta(ge=1)]
    pause_ns: Annotated[int, msgspec.Meta(ge=0)]  # between two rounds
    sentinel: PlannedCase
    cases: tuple[PlannedCase, ...]


class PlanError(RecordError):
    """A prepared folder that is incomplete, damaged or too new; one line that names the file."""


def case_folders(plan: Plan, folder: Path) -> Iterator[tuple[PlannedCase, Path]]:
    """Each case with its folder, the sentinel first."""
    yield plan.sentinel, folder / "sentinel"
    for at, case in enumerate(plan.cases):
        yield case, folder / "cases" / str(at)


def package_path(folder: Path) -> Path:
    """Where a case's package is."""
    return folder / "package.mlpackage"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_plan(folder: Path) -> tuple[Plan, str]:
    """Read a prepared folder's plan and check every file against it.

    Returns:
        The plan and its own SHA-256.

    Raises:
        PlanError: a file is missing or is not what the plan says.
    """
    path = folder / "plan.json"
    try:
        content = path.read_bytes()
        plan = msgspec.json.decode(content, type=Plan)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"{path}: not a valid plan: {error}") from error
    if plan.schema_version != PLAN_VERSION:
        raise PlanError(
            f"{path}: plan schema {plan.schema_version}; this coreml-assay reads {PLAN_VERSION}"
        )
    for case, place in case_folders(plan, folder):
        if package_sha256(package_path(place)) != case.package_sha256:
            raise PlanError(f"{package_path(place)}: missing, or not the package of the plan")
        for name in ("inputs", *PRECISIONS):
            file = place / f"{name}.safetensors"
            if not file.is_file() or file_sha256(file) != getattr(case, f"{name}_sha256"):
                raise PlanError(f"{file}: missing, or not the file of the plan")
    return plan, hashlib.sha256(content).hexdigest()


def write_samples(samples: Sequence[Mapping[str, npt.ArrayLike]], path: Path) -> str:
    """Write arrays of several samples to one file.

    Returns:
        The SHA-256 of the file.
    """
    flat = {
        f"{at}/{name}": np.array(value, order="C")
        for at, sample in enumerate(samples)
        for name, value in sample.items()
    }
    content = save(flat)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_samples(path: Path) -> Samples:
    """Read what `write_samples` wrote.

    Raises:
        PlanError: the file is missing or not of that form.
    """
    try:
        flat = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise PlanError(f"{path}: cannot be read: {error}") from error
    samples: dict[int, dict[str, npt.NDArray[Any]]] = {}
    for key, value in flat.items():
        at, _, name = key.partition("/")
        if not at.isdecimal() or not name:
            raise PlanError(f"{path}: holds {key!r}, which is no sample's array")
        samples.setdefault(int(at), {})[name] = value
    if not samples or sorted(samples) != list(range(len(samples))):
        raise PlanError(f"{path}: samples are missing")
    return [samples[at] for at in range(len(samples))]
