"""A user's own model and data: arrays by input name, with a leading axis of samples."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from coreml_assay.accuracy.cases import Case, Sample
from coreml_assay.accuracy.metrics import Array
from coreml_assay.mil.errors import EvaluationError, UnsupportedOperation
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import PackageError, load_program, open_package


class DataError(ValueError):
    """Data that cannot be read or does not fit the model; one line that names the file."""


def own_case(package: Path, data: Path, calibration: Path | None) -> Case:
    """A case of a user's model, checked by evaluating one sample.

    Args:
        package: an ``.mlpackage``.
        data: ``.npz`` or ``.safetensors`` with an array for each input, samples first: the rest
            of its shape is the input's.
        calibration: the same for calibration; by default the data itself.

    Raises:
        PackageError: the model cannot be opened or evaluated.
        DataError: the data cannot be read, or does not fit the model.
    """
    model = open_package(package)
    try:
        evaluator = Evaluator(load_program(model))
    except (UnsupportedOperation, EvaluationError, TypeError, ValueError) as error:
        raise PackageError(f"{package}: {error}") from error
    samples = _samples(data, evaluator)
    calibrating = samples if calibration is None else _samples(calibration, evaluator)
    how = "which also calibrate" if calibration is None else f"calibrated with {calibration.name}"
    return Case(
        name=package.name.removesuffix(".mlpackage"),
        model=model,
        data=f"{len(samples)} samples of {data.name}, {how}",
        samples=samples,
        calibration=calibrating,
    )


def _samples(path: Path, evaluator: Evaluator) -> list[Sample]:
    arrays = _read(path)
    if missing := [name for name in evaluator.inputs if name not in arrays]:
        raise DataError(
            f"{path}: no array is named {missing[0]!r}, an input of the model; "
            f"there are {', '.join(map(repr, arrays)) or 'none'}"
        )
    if unknown := [name for name in arrays if name not in evaluator.inputs]:
        raise DataError(
            f"{path}: the model has no input {unknown[0]!r}; "
            f"its inputs are {', '.join(map(repr, evaluator.inputs))}"
        )
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or not all(counts.values()):
        shown = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise DataError(
            f"{path}: the first axis counts samples, at least one and as many in every array; "
            f"there are {shown}"
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path}: {name!r} holds NaN or infinity")
    (count,) = set(counts.values())
    samples = [{name: array[at] for name, array in arrays.items()} for at in range(count)]
    try:
        answer = evaluator.predict(samples[0])
    except (EvaluationError, ValueError) as error:
        raise DataError(
            f"{path}: sample 0: {error} (each array has the samples along a leading axis)"
        ) from error
    if odd := [name for name, value in answer.items() if not isinstance(value, np.ndarray)]:
        raise DataError(f"{path}: output {odd[0]!r} of the model is no array")
    return samples


def _read(path: Path) -> dict[str, Array]:
    if path.suffix not in (".npz", ".safetensors"):
        raise DataError(f"{path}: data comes as .npz or .safetensors")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
