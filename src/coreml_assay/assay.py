"""One run: everything measured, as a record. What it means is the gate's to say."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

import attrs
import msgspec

import coreml_assay
from coreml_assay.accuracy.cases import BuiltIn, Case
from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.accuracy.outputs import measure_case
from coreml_assay.accuracy.sensitivity import sensitivities
from coreml_assay.accuracy.weights import CONFIGURATIONS, measure
from coreml_assay.conformance.agreement import compare
from coreml_assay.conformance.registry import check_count
from coreml_assay.conformance.runner import Cancelled, run_suite
from coreml_assay.implementations import (
    Face,
    Implementation,
    ImplementationError,
    apart,
    faces,
    load_implementation,
    require_installed,
)
from coreml_assay.mil.program import PackageError, load_program, open_package
from coreml_assay.numerics import native
from coreml_assay.records import (
    AccuracyRun,
    Agreement,
    Environment,
    ModelRun,
    Record,
    Sensitivity,
    SuiteRun,
)

Progress = Callable[[str, int, int], None]  # stage, done, total

_PACKAGES = ("coreml-assay", "coremltools", "hypothesis", "numpy", "torch")


@attrs.frozen
class Plan:
    """What to measure.

    Attributes:
        implementations: names, ``module:object`` or ``command:PROGRAM``.
        seed: of everything random.
        profile: of the suite, "quick" or "thorough".
        cases: random weights compared with coremltools, for each other implementation.
        models: name to package; the shipped models and the user's own.
        logs: folder for pytest's output.
        accuracy: the built-in cases whose outputs are measured.
    """

    implementations: tuple[str, ...]
    seed: int
    profile: str
    cases: int
    models: dict[str, Path]
    logs: Path
    accuracy: tuple[BuiltIn, ...] = ()


def shipped_models() -> tuple[dict[str, Path], list[str]]:
    """The shipped models that are installed, and for the others the command that installs them."""
    found = {f"{model.name} {model.version}": model.find() for model in SHIPPED}
    missing = [model.install_command for model in SHIPPED if model.find() is None]
    return {name: path for name, path in found.items() if path is not None}, missing


def run(plan: Plan, progress: Progress) -> Record:
    """Measure everything the plan names.

    Suites run beside each other and beside the rest, each in a process of its own. All else runs
    in this process, without the implementations whose packages another process must import.

    Args:
        plan: what to measure.
        progress: told the stage, what is done and what there is to do; called from threads.

    Raises:
        ImplementationError: an implementation cannot be loaded.
        PackageError: a model cannot be read.
        SuiteError: a suite could not be run at all.
    """
    loaded = [load_implementation(name) for name in plan.implementations if not apart(name)]
    for name in filter(apart, plan.implementations):
        require_installed(name)
    for package in plan.models.values():
        _check_package(package)  # what is wrong is told before anything long begins
    cancelled = threading.Event()
    with ThreadPoolExecutor(max_workers=len(plan.implementations) or 1) as executor:
        try:
            suites = [
                executor.submit(_suite, plan, name, progress, cancelled)
                for name in plan.implementations
            ]
            drop_ins = [each for each in loaded if Face.COREML in faces(each)]
            models = _models(plan, drop_ins, progress)
            accuracy = [
                run
                for built_in in plan.accuracy
                for run in _accuracy(built_in.make(plan.seed), loaded, progress)
            ]
            agreements = _agreements(plan, drop_ins, progress)
            # One after the other: an interrupt inside as_completed can leave its locks taken.
            finished = [suite.result() for suite in suites]
        except BaseException:
            cancelled.set()
            raise
    return msgspec.structs.replace(
        new_record(plan.seed, plan.profile),
        suites=tuple(finished),
        agreements=tuple(agreements),
        models=tuple(models),
        accuracy=tuple(accuracy),
    )


def run_accuracy(
    names: Sequence[str],
    cases: Iterable[Case],
    seed: int,
    with_sensitivity: bool,
    progress: Progress,
) -> Record:
    """Measure the outputs of quantized models, and nothing else.

    Args:
        names: of implementations; those without a Core ML face are left out.
        cases: made one after the other.
        seed: that they were made with, for the record.
        with_sensitivity: whether to quantize each weight and activation alone, too.
        progress: told the stage, what is done and what there is to do.

    Raises:
        ImplementationError: an implementation cannot be loaded, or none has a Core ML face.
    """
    loaded = [load_implementation(name) for name in names]
    if not any(Face.COREML in faces(each) for each in loaded):
        raise ImplementationError(f"{', '.join(names)}: nothing that quantizes Core ML models")
    runs: list[AccuracyRun] = []
    alone: list[Sensitivity] = []
    for case in cases:
        runs += _accuracy(case, loaded, progress)
        if with_sensitivity:
            stage = f"sensitivity of {case.name}"
            alone += sensitivities(case, partial(progress, stage))
    return msgspec.structs.replace(
        new_record(seed, "accuracy"),
        accuracy=tuple(runs),
        sensitivities=tuple(alone),
    )


def _accuracy(
    case: Case, implementations: Sequence[Implementation], progress: Progress
) -> list[AccuracyRun]:
    drop_ins = [each for each in implementations if Face.COREML in faces(each)]
    return measure_case(case, drop_ins, partial(progress, f"outputs of {case.name}"))


def new_record(seed: int, profile: str) -> Record:
    """A record of here and now in which nothing is measured yet.

    Args:
        seed: of everything random.
        profile: of the suite, or what else is measured.
    """
    return Record(
        tool_version=coreml_assay.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seed=seed,
        profile=profile,
        environment=environment(),
    )


def environment() -> Environment:
    """Where this process runs."""
    installed = {found.name: found.version for found in distributions() if found.name in _PACKAGES}
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu_count=os.cpu_count() or 1,
        packages=dict(sorted(installed.items())),
        kernels=native.active(),
    )


def _check_package(package: Path) -> None:
    try:
        load_program(open_package(package))
    except PackageError:
        raise
    except (TypeError, ValueError) as error:
        raise PackageError(f"{package}: {error}") from error


def _suite(plan: Plan, name: str, progress: Progress, cancelled: threading.Event) -> SuiteRun:
    def told(done: int) -> None:
        if cancelled.is_set():
            raise Cancelled
        progress(f"suite on {name}", done, check_count())

    log = plan.logs / f"suite-{''.join(c if c.isalnum() else '-' for c in name)}.log"
    return run_suite(name, seed=plan.seed, profile=plan.profile, log=log, progress=told)


def _models(
    plan: Plan, implementations: Sequence[Implementation], progress: Progress
) -> list[ModelRun]:
    total = len(plan.models) * len(CONFIGURATIONS) * len(implementations)
    runs: list[ModelRun] = []
    for name, package in plan.models.items():
        for configuration in CONFIGURATIONS:
            for implementation in implementations:
                runs.append(measure(name, package, configuration, implementation))
                progress("real models", len(runs), total)
    return runs


def _agreements(
    plan: Plan, implementations: Sequence[Implementation], progress: Progress
) -> list[Agreement]:
    others = [each for each in implementations if each.name != "coremltools"]
    if not others or plan.cases == 0:
        return []
    coremltools = load_implementation("coremltools")
    return [
        compare(
            each,
            coremltools,
            plan.cases,
            plan.seed,
            lambda done, name=each.name: progress(  # type: ignore[misc]
                f"programs of {name} and coremltools", min(done, plan.cases), plan.cases
            ),
        )
        for each in others
    ]
