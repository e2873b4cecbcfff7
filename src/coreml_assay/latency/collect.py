"""Runs a prepared folder through a backend and keeps everything that was seen."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import attrs

import coreml_assay
from coreml_assay.files import replacing_folder
from coreml_assay.latency.backends import Arrays, Backend, Loaded
from coreml_assay.latency.plan import (
    Plan,
    PlannedCase,
    case_folders,
    package_path,
    read_plan,
    read_samples,
    write_samples,
)
from coreml_assay.latency.protocol import MOST_WARM_UP, SENTINEL_SAMPLES, settled
from coreml_assay.latency.session import SessionError, outputs_path, sealed, write_session
from coreml_assay.latency_records import (
    SESSION_VERSION,
    LatencyRun,
    Round,
    Sentinel,
    Session,
    Units,
)


@attrs.frozen
class Watch:
    """The clock of a session, and how it waits.

    Attributes:
        now: nanoseconds on a steady clock.
        sleep: waits for so many nanoseconds.
    """

    now: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[int], None] = lambda nanoseconds: time.sleep(nanoseconds / 1e9)


def collect(
    prepared: Path,
    folder: Path,
    backend: Backend,
    told: Callable[[int, int], None],
    watch: Watch | None = None,
) -> Session:
    """Collect a session and write it, whole or not at all.

    Args:
        prepared: a prepared folder.
        folder: to write; replaced where there is one.
        backend: what predicts.
        told: the progress, done and total.
        watch: the session's clock.

    Returns:
        The session as written. Whether it can be believed is for `checks.refuse` to say.

    Raises:
        PlanError: the prepared folder is incomplete or damaged.
        SessionError: another coremltools is installed than wrote the packages, or a warm-up
            does not come to rest.
        OSError: the folder cannot be written.
    """
    plan, plan_sha256 = read_plan(prepared)
    here = version("coremltools")
    if here != plan.coremltools:
        raise SessionError(
            f"{prepared}: prepared with coremltools {plan.coremltools}, and {here} is installed"
        )
    watch = watch or Watch()
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    start, device = watch.now(), backend.device(None)
    (sentinel, sentinel_folder), *cases = case_folders(plan, prepared)
    total = len(cases) * len(backend.compute_units)
    runs: list[LatencyRun] = []
    with replacing_folder(folder) as fresh:
        before = [_sentinel(sentinel_folder, units, backend) for units in backend.compute_units]
        for at, (case, place) in enumerate(cases):
            for units in backend.compute_units:
                outputs = outputs_path(fresh, at, units)
                runs.append(_run(plan, case, place, backend, units, outputs, watch, start))
                told(len(runs), total)
        after = [_sentinel(sentinel_folder, units, backend) for units in backend.compute_units]
        session = sealed(
            Session(
                schema_version=SESSION_VERSION,
                tool_version=coreml_assay.__version__,
                created=created,
                plan_sha256=plan_sha256,
                backend=backend.name,
                coremltools=here,
                python=platform.python_version(),
                device=backend.device(device),
                sentinels=tuple(
                    Sentinel(
                        compute_units=units,
                        package_sha256=sentinel.package_sha256,
                        before_ns=first,
                        after_ns=last,
                    )
                    for units, first, last in zip(backend.compute_units, before, after, strict=True)
                ),
                runs=tuple(runs),
            )
        )
        write_session(session, fresh)
    return session


def _run(
    plan: Plan,
    case: PlannedCase,
    place: Path,
    backend: Backend,
    units: Units,
    outputs: Path,
    watch: Watch,
    start: int,
) -> LatencyRun:
    """Load one package, warm it up, time the rounds, and write what it answers."""
    samples = read_samples(place / "inputs.safetensors")
    loaded = backend.load(package_path(place), units)
    try:
        warm_up = _warm_up(loaded, samples[0], f"{case.model}, {case.configuration}, {units}")
        rounds = []
        for at in range(plan.rounds):
            if at:
                watch.sleep(plan.pause_ns)
            begun = watch.now()
            timed = tuple(_timed(loaded, samples[0]) for _ in range(plan.samples_per_round))
            elapsed = watch.now() - begun
            rounds.append(Round(start_ns=begun - start, elapsed_ns=elapsed, samples_ns=timed))
        answers = [loaded.predict(sample)[0] for sample in samples]
        return LatencyRun(
            model=case.model,
            configuration=case.configuration,
            package_sha256=case.package_sha256,
            inputs_sha256=case.inputs_sha256,
            compute_units=units,
            load_ns=loaded.load_ns,
            warm_up_ns=warm_up,
            rounds=tuple(rounds),
            placement=loaded.placement(),
            outputs_sha256=write_samples(answers, outputs),
        )
    finally:
        loaded.close()


def _sentinel(place: Path, units: Units, backend: Backend) -> tuple[int, ...]:
    """The sentinel's samples, after a warm-up of its own."""
    inputs = read_samples(place / "inputs.safetensors")[0]
    loaded = backend.load(package_path(place), units)
    try:
        _warm_up(loaded, inputs, f"sentinel, {units}")
        return tuple(_timed(loaded, inputs) for _ in range(SENTINEL_SAMPLES))
    finally:
        loaded.close()


def _warm_up(loaded: Loaded, inputs: Arrays, what: str) -> tuple[int, ...]:
    """Predict until the rolling median has settled; every duration is kept."""
    durations: list[int] = []
    while not settled(durations):
        if len(durations) == MOST_WARM_UP:
            raise SessionError(
                f"{what}: the median of {MOST_WARM_UP} predictions has not settled; "
                "something else keeps the machine busy"
            )
        durations.append(_timed(loaded, inputs))
    return tuple(durations)


def _timed(loaded: Loaded, inputs: Arrays) -> int:
    return loaded.predict(inputs)[1]
