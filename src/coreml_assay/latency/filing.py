"""Files a session into asv's results, with the device as the machine.

The benchmark itself is in ``benchmarks/latency.py``, with the names and parameters and the pinned
version that stand here: asv keeps results only of benchmarks that it finds again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.accuracy.weights import CONFIGURATIONS
from coreml_assay.latency_records import DEVICE_UNITS, EVALUATOR_UNITS, Device, LatencyRun
from coreml_assay.records import LatencyResult, RecordError

BENCHMARK = "latency.Prediction.track_"
VERSION = "1"  # of what is measured; a change of the protocol changes it
PARAMETERS: dict[str, list[str]] = {
    "model": [f"{each.name} {each.version}" for each in SHIPPED],
    "configuration": ["as it is", *(each.name for each in CONFIGURATIONS)],
    "compute_units": [*DEVICE_UNITS, *EVALUATOR_UNITS],
}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "minimum": 0.0}


class FilingError(RecordError):
    """Results that asv would not keep; one line that says what it needs."""


def quantile_seconds(run: LatencyRun, name: str) -> float:
    """One of `QUANTILES` over all samples of a run."""
    return float(np.quantile(np.array(run.samples_ns, np.float64), QUANTILES[name])) / 1e9


def file_results(results: Sequence[LatencyResult], configuration: Path, commit: str) -> list[str]:
    """Write results of one session into asv's results folder, beside what is there.

    Args:
        results: of one session.
        configuration: an ``asv.conf.json``.
        commit: whose packages were measured: a name or hash in asv's repository.

    Returns:
        The cases that are none of the benchmark's parameters and so cannot be filed.

    Raises:
        FilingError: asv is missing, or does not know the benchmark as it is here; or there is no
            such commit.
    """
    try:
        from asv.benchmarks import Benchmarks
        from asv.config import Config
        from asv.repo import NoSuchNameError, get_repo
        from asv.results import Results
        from asv.util import UserError
    except ImportError as error:
        raise FilingError("filing into asv's results needs asv: pip install asv") from error
    fitting = [each for each in results if _is_known(each.run)]
    others = [", ".join(_case(each.run)) for each in results if not _is_known(each.run)]
    if not fitting:
        return others
    first = fitting[0]
    try:
        conf = Config.load(str(configuration))
        folder = configuration.resolve().parent
        conf.results_dir = str(folder / conf.results_dir)
        if (folder / conf.repo).exists():
            conf.repo = str(folder / conf.repo)
        repository = get_repo(conf)
        commit_hash = repository.get_hash_from_name(commit)
        known = _known(Benchmarks.load(conf), configuration)
        machine = _write_machine(first.device, Path(conf.results_dir))
        filed = Results(
            {**machine, "python": "", "coremltools": first.coremltools},
            {},
            commit_hash,
            repository.get_date(commit_hash),
            "",
            f"coremltools{first.coremltools}",
            {},
        )
        filed.load_data(conf.results_dir)
        for name, benchmark in known.items():
            _add(filed, benchmark, fitting, name)
        filed.save(conf.results_dir)
    except NoSuchNameError as error:
        raise FilingError(f"{configuration}: its repository has no commit {commit!r}") from error
    except UserError as error:
        raise FilingError(f"{configuration}: {error}") from error
    return others


def machine_name(device: Device) -> str:
    """The name of a device's folder; the evaluator's says that it is none."""
    if device.kind == "none":
        return "evaluator-no-device"
    return re.sub(r"[^A-Za-z0-9,.-]+", "-", f"{device.kind}-{device.name}")


def _known(benchmarks: Any, configuration: Path) -> dict[str, Any]:
    """The benchmark of each quantile, as asv discovered it."""
    found = {}
    for name in QUANTILES:
        benchmark = benchmarks.get(BENCHMARK + name)
        parameters = [[repr(value) for value in values] for values in PARAMETERS.values()]
        if (
            benchmark is None
            or benchmark["version"] != VERSION
            or benchmark["params"] != parameters
        ):
            raise FilingError(
                f"{configuration}: asv does not know {BENCHMARK}{name} in version {VERSION}; "
                "let it look: asv run --bench just-discover --set-commit-hash HEAD"
            )
        found[name] = benchmark
    return found


def _add(filed: Any, benchmark: Any, results: Sequence[LatencyResult], name: str) -> None:
    """Put one quantile of each result beside those that were filed before."""
    from asv.runner import BenchmarkResult

    measured: dict[tuple[str, ...], float | None] = {
        _case(each.run): quantile_seconds(each.run, name) for each in results
    }
    key, cases = benchmark["name"], list(product(*PARAMETERS.values()))
    before: list[float | None] = [None] * len(cases)
    if key in filed.get_all_result_keys():
        before = filed.get_result_value(key, benchmark["params"])
    values = [measured.get(case, old) for case, old in zip(cases, before, strict=True)]
    nothing = [None] * len(values)
    filed.add_result(
        benchmark,
        BenchmarkResult(values, nothing, nothing, 0, "", None),
        started_at=datetime.fromisoformat(results[0].created),
    )


def _case(run: LatencyRun) -> tuple[str, ...]:
    return (run.model, run.configuration, run.compute_units)


def _is_known(run: LatencyRun) -> bool:
    return all(
        value in values for value, values in zip(_case(run), PARAMETERS.values(), strict=True)
    )


def _write_machine(device: Device, folder: Path) -> dict[str, str]:
    """Tell asv of the device; what nobody measured of it is left empty."""
    from asv import util
    from asv.machine import Machine

    name = machine_name(device)
    system = "" if device.kind == "none" else f"{device.os_version} ({device.os_build})"
    facts = {"machine": name, "os": system, "arch": "", "cpu": "", "num_cpu": "", "ram": ""}
    util.write_json(str(folder / name / "machine.json"), facts, Machine.api_version)
    return facts
