"""Takes a collected session in: refused, or as results of a record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coreml_assay.accuracy.metrics import output_errors
from coreml_assay.latency.checks import refuse, units_of
from coreml_assay.latency.plan import PRECISIONS, Samples, case_folders, read_plan, read_samples
from coreml_assay.latency.session import outputs_path, read_session
from coreml_assay.latency_records import Session
from coreml_assay.records import LatencyResult, OutputError


def ingest(prepared: Path, folder: Path) -> tuple[Session, tuple[LatencyResult, ...]]:
    """Check a collected folder and compare its outputs with the expected ones.

    Args:
        prepared: the prepared folder that it was collected from.
        folder: the collected one.

    Returns:
        The session, and a result for each of its runs.

    Raises:
        PlanError: the prepared folder is incomplete or damaged.
        SessionError: the session is incomplete or impossible.
    """
    plan, plan_sha256 = read_plan(prepared)
    session = read_session(folder)
    refuse(session, plan, plan_sha256, prepared, folder)
    _, *cases = case_folders(plan, prepared)
    units = units_of(session)
    sentinels = {each.compute_units: each for each in session.sentinels}
    results = []
    for at, run in enumerate(session.runs):
        case = at // len(units)
        found = read_samples(outputs_path(folder, case, run.compute_units))
        results.append(
            LatencyResult(
                backend=session.backend,
                device=session.device,
                coremltools=session.coremltools,
                created=session.created,
                run=run,
                sentinel=sentinels[run.compute_units],
                **{name: _errors(cases[case][1], name, found) for name in PRECISIONS},
            )
        )
    return session, tuple(results)


def _errors(place: Path, precision: str, found: Samples) -> tuple[OutputError, ...]:
    expected: Sequence[Any] = read_samples(place / f"{precision}.safetensors")
    with np.errstate(over="ignore", invalid="ignore"):  # whatever a device answers
        return output_errors(expected, found)
