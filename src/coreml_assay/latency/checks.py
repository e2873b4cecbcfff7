"""What makes a session incomplete or impossible. One is refused for the first such reason.

A session comes from another machine, through other hands. Everything that can be known about it
beforehand (from the plan) or that follows from the rest of it is checked, whatever its seal says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from coreml_assay.latency import protocol
from coreml_assay.latency.plan import (
    Plan,
    PlanError,
    PlannedCase,
    Samples,
    case_folders,
    file_sha256,
    read_samples,
)
from coreml_assay.latency.session import SESSION_FILE, SessionError, outputs_path, seal_of
from coreml_assay.latency_records import (
    DEVICE_UNITS,
    EVALUATOR_UNITS,
    UNKNOWN,
    LatencyRun,
    Placement,
    Sentinel,
    Session,
    Units,
)

_EXCLUDED = {"CPU_ONLY": {"gpu", "neural engine"}, "CPU_AND_NE": {"gpu"}}
_HOT = ("heavy", "trapping", "sleeping")
_ROUNDING = 1e-3  # costs are float32 estimates that should sum to 1


def refuse(session: Session, plan: Plan, plan_sha256: str, prepared: Path, folder: Path) -> None:
    """Let a session pass, or say why not.

    Args:
        session: as read.
        plan: of the prepared folder.
        plan_sha256: of that plan's file.
        prepared: the prepared folder.
        folder: the collected one.

    Raises:
        SessionError: it is incomplete or impossible; the message names the place.
    """
    for problem in _problems(session, plan, plan_sha256, prepared, folder):
        raise SessionError(f"{folder / SESSION_FILE}: refused: {problem}")


def units_of(session: Session) -> tuple[Units, ...]:
    """The compute units that a session of this backend has to have."""
    return EVALUATOR_UNITS if session.backend == "evaluator" else DEVICE_UNITS


def _problems(
    session: Session, plan: Plan, plan_sha256: str, prepared: Path, folder: Path
) -> Iterator[str]:
    yield from _origin(session, plan, plan_sha256)
    yield from _device(session)
    yield from _completeness(session, plan)
    for run, case in zip(session.runs, _planned(session, plan), strict=True):
        where = f"{run.model}, {run.configuration}, {run.compute_units}"
        if run.package_sha256 != case.package_sha256:
            yield f"{where}: package_sha256 is not that of the plan's package"
        if run.inputs_sha256 != case.inputs_sha256:
            yield f"{where}: inputs_sha256 is not that of the plan's inputs"
        yield from (f"{where}: {each}" for each in _times(run, plan))
        yield from (f"{where}: {each}" for each in _placed(run, session))
    yield from _order(session)
    for sentinel in session.sentinels:
        yield from _sentinel(sentinel, plan)
    yield from _outputs(session, plan, prepared, folder)
    if session.seal != seal_of(session):
        yield "the seal does not fit: it was edited after it was collected"


def _origin(session: Session, plan: Plan, plan_sha256: str) -> Iterator[str]:
    if session.plan_sha256 != plan_sha256:
        yield "plan_sha256 is not that of the prepared folder's plan"
    for name in ("tool_version", "coremltools"):
        here, planned = getattr(session, name), getattr(plan, name)
        if here != planned:
            yield f"{name} is {here!r}, and the plan was made with {planned!r}"
    if not re.fullmatch(r"3\.\d+\.\d+\S*", session.python):
        yield f"python is {session.python!r}, which is no version of Python 3"
    try:
        created, planned = (datetime.fromisoformat(each.created) for each in (session, plan))
    except ValueError:
        yield f"created is {session.created!r}, which is no ISO 8601 time"
        return
    if created.utcoffset() != timedelta(0) or planned.utcoffset() != timedelta(0):
        yield f"created is {session.created!r} (the plan: {plan.created!r}), which is not UTC"
    elif created < planned:
        yield f"created is {session.created}, before the plan was ({plan.created})"


def _device(session: Session) -> Iterator[str]:
    device = session.device
    if (session.backend == "evaluator") != (device.kind == "none"):
        yield f"backend {session.backend} and device.kind {device.kind!r} do not go together"
    for name in ("name", "os_version", "os_build"):
        value = getattr(device, name)
        if not value.strip() or value == UNKNOWN or (value == "none") != (device.kind == "none"):
            yield f"device.{name} is {value!r}, which tells no device of kind {device.kind!r}"
    if not device.xcode.strip():
        yield "device.xcode is empty; a machine without Xcode says 'unknown'"
    if len(set(device.processors)) < len(device.processors):
        yield "device.processors names one twice"
    if device.kind == "mac" and "cpu" not in device.processors:
        yield "device.processors lacks the CPU, which every Mac has"
    if device.kind != "mac" and device.processors:
        yield f"device.processors of kind {device.kind!r} cannot be known"
    for name in ("thermal_before", "thermal_after"):
        state = getattr(device, name)
        if state in _HOT:
            yield f"device.{name} is {state}: a throttled device measures its cooling"
        if device.kind != "mac" and state != UNKNOWN:
            yield f"device.{name} of kind {device.kind!r} cannot be known"


def _planned(session: Session, plan: Plan) -> list[PlannedCase]:
    return [case for case in plan.cases for _ in units_of(session)]


def _completeness(session: Session, plan: Plan) -> Iterator[str]:
    units = units_of(session)
    wanted = [(case.model, case.configuration, each) for case in plan.cases for each in units]
    found = [(run.model, run.configuration, run.compute_units) for run in session.runs]
    if found != wanted:
        odd = next((each for each in found if each not in wanted), None)
        missing = next((each for each in wanted if each not in found), None)
        if odd is not None:
            yield f"run {', '.join(odd)} is not in the plan of this backend"
        elif missing is not None:
            yield f"run {', '.join(missing)} is missing"
        else:
            yield "runs are not those of the plan, each once and in its order"
    if tuple(each.compute_units for each in session.sentinels) != units:
        yield f"sentinels are not those of {', '.join(units)}, each once and in order"


def _times(run: LatencyRun, plan: Plan) -> Iterator[str]:
    if not protocol.settled(run.warm_up_ns):
        yield (
            f"warm_up_ns has {len(run.warm_up_ns)} predictions and has not settled; at least "
            f"{protocol.LEAST_WARM_UP} are needed, and a median that stands still"
        )
    if any(protocol.settled(run.warm_up_ns[:each]) for each in range(len(run.warm_up_ns))):
        yield "warm_up_ns goes on after it had settled"
    if len(run.rounds) != plan.rounds or len(run.rounds) < protocol.LEAST_ROUNDS:
        yield (
            f"rounds are {len(run.rounds)}; the plan has {plan.rounds}, and at least "
            f"{protocol.LEAST_ROUNDS} are needed"
        )
    if len(run.samples_ns) < protocol.LEAST_SAMPLES:
        yield f"samples_ns are {len(run.samples_ns)}; {protocol.LEAST_SAMPLES} are needed"
    for at, each in enumerate(run.rounds):
        if len(each.samples_ns) != plan.samples_per_round:
            yield (
                f"rounds[{at}] has {len(each.samples_ns)} samples_ns; "
                f"the plan has {plan.samples_per_round}"
            )
        if sum(each.samples_ns) > each.elapsed_ns:
            yield f"rounds[{at}]: samples_ns sum to more than elapsed_ns, the whole round"
    if len(set(run.samples_ns)) == 1:
        yield "samples_ns are all equal, which no clock says of 200 predictions"
    if plan.pause_ns == 0:
        yield "the plan has no pause between rounds"
    for at, (before, after) in enumerate(zip(run.rounds, run.rounds[1:], strict=False)):
        if after.start_ns < before.start_ns + before.elapsed_ns + plan.pause_ns:
            yield f"rounds[{at + 1}].start_ns leaves no pause after the round before"


def _placed(run: LatencyRun, session: Session) -> Iterator[str]:
    if (run.placement is None) != (session.backend == "evaluator"):
        yield f"placement is {'missing' if run.placement is None else 'given'}"
    if run.placement is None:
        return
    placement: Placement = run.placement
    units = placement.compute_units
    if units != run.compute_units:
        yield (
            f"placement.compute_units is {units}: a plan of other compute units than those that "
            "predicted"
        )
    if not placement.operations:
        yield "placement has no operations"
    for at, each in enumerate(placement.operations):
        if not each.operator.strip():
            yield f"placement.operations[{at}].operator is empty"
        if each.preferred in _EXCLUDED.get(units, ()):
            yield f"placement.operations[{at}].preferred is {each.preferred} with {units}"
        if session.device.processors and each.preferred not in session.device.processors:
            yield f"placement.operations[{at}].preferred is {each.preferred}, which is not there"
    total = sum(each.cost or 0.0 for each in placement.operations)
    if total > 1 + _ROUNDING:
        yield f"placement.operations: cost sums to {total:.3f}, more than the whole"


def _order(session: Session) -> Iterator[str]:
    """What happened one after the other cannot overlap."""
    free = 0
    for run in session.runs:
        if not run.rounds:
            continue
        where = f"{run.model}, {run.configuration}, {run.compute_units}"
        if run.rounds[0].start_ns < free + run.load_ns + sum(run.warm_up_ns):
            yield f"{where}: rounds[0].start_ns leaves no time for load_ns and warm_up_ns"
        free = run.rounds[-1].start_ns + run.rounds[-1].elapsed_ns


def _sentinel(sentinel: Sentinel, plan: Plan) -> Iterator[str]:
    where = f"sentinel on {sentinel.compute_units}"
    if sentinel.package_sha256 != plan.sentinel.package_sha256:
        yield f"{where}: package_sha256 is not that of the plan's sentinel"
    for name in ("before_ns", "after_ns"):
        if len(getattr(sentinel, name)) != protocol.SENTINEL_SAMPLES:
            yield f"{where}: {name} has not {protocol.SENTINEL_SAMPLES} samples"
            return
    moved = protocol.drift(sentinel.before_ns, sentinel.after_ns)
    if abs(moved) > protocol.MOST_DRIFT:
        yield (
            f"{where}: its median drifted by {100 * moved:+.1f} % from before_ns to after_ns; "
            f"{100 * protocol.MOST_DRIFT:g} % is allowed"
        )


def _outputs(session: Session, plan: Plan, prepared: Path, folder: Path) -> Iterator[str]:
    units = units_of(session)
    _, *cases = case_folders(plan, prepared)
    for at, run in enumerate(session.runs):
        path = outputs_path(folder, at // len(units), run.compute_units)
        if not path.is_file() or file_sha256(path) != run.outputs_sha256:
            yield f"{path.name}: missing, or not what outputs_sha256 says"
            continue
        expected = read_samples(cases[at // len(units)][1] / "float32.safetensors")
        try:
            found = read_samples(path)
        except PlanError as error:
            yield str(error)
            continue
        if _shapes(found) != _shapes(expected):
            yield f"{path.name}: outputs_sha256 is of arrays of other names or shapes"


def _shapes(samples: Samples) -> list[dict[str, tuple[int, ...]]]:
    return [{name: np.shape(value) for name, value in each.items()} for each in samples]
