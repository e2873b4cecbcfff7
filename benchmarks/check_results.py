"""Say whether asv's last run measured every benchmark: python benchmarks/check_results.py.

asv itself ends well when benchmarks fail or are no longer found. Exit code 1, with the names,
where a benchmark failed, and where a file has more or fewer cases than EXPECTED.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from itertools import product
from pathlib import Path

from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.results import Results, iter_results

ROOT = Path(__file__).parents[1]
# Cases of each file: its benchmarks, times their combinations of parameters.
EXPECTED = {"evaluator": 6, "gptq": 10, "models": 24}
FILED = "latency."  # measured on devices, and here on a Mac alone


def problems(results: Results, benchmarks: Benchmarks) -> list[str]:
    """A sentence for each case that failed or was not measured, and each count that is off."""
    found, counts = [], Counter()
    for name in _measured(results):
        parameters = benchmarks[name]["params"]
        values = results.get_result_value(name, parameters)
        for case, value in zip(product(*parameters), values, strict=True):
            counts[name.split(".")[0]] += 1
            if value is None or math.isnan(value):
                found.append(f"{name}({', '.join(case)}) was not measured")
    found.extend(
        f"{file}: {counts[file]} cases, {EXPECTED.get(file, 0)} expected"
        for file in sorted(EXPECTED.keys() | counts.keys())
        if counts[file] != EXPECTED.get(file, 0)
    )
    return found


def _measured(results: Results) -> list[str]:
    return [name for name in results.get_all_result_keys() if not name.startswith(FILED)]


def main() -> None:
    configuration = Config.load(str(ROOT / "asv.conf.json"))
    folder = ROOT / configuration.results_dir
    found = [run for run in iter_results(str(folder)) if _measured(run)]
    runs = sorted(found, key=lambda run: max(run.started_at.values()))
    if not runs:
        sys.exit("no results: `asv run --set-commit-hash HEAD` comes first")
    configuration.results_dir = str(folder)
    found = problems(runs[-1], Benchmarks.load(configuration))
    if found:
        sys.exit("\n".join(found))
    print(f"all {sum(EXPECTED.values())} cases of {len(EXPECTED)} files were measured")


if __name__ == "__main__":
    main()
