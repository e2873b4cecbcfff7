"""Say whether asv's last run measured every benchmark: python benchmarks/check_results.py.

asv itself ends well when benchmarks fail or are no longer found. Exit code 1, with the names,
where a benchmark failed, and where a file has more or fewer cases than EXPECTED. Cases of torchao
are left out where it is not installed, and counted.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.results import Results, iter_results

ROOT = Path(__file__).parents[1]
# Cases of each file: its benchmarks, times their combinations of parameters.
EXPECTED = {
    "evaluator": 6,
    "fake_quantization": 16,
    "gptq": 28,
    "models": 28,
    "rounding": 115,
}
FILED = "latency."  # measured on devices, and here on a Mac alone


def problems(results: Results, benchmarks: Benchmarks) -> list[str]:
    """A sentence for each case that failed or was not measured, and each count that is off."""
    found, counts = [], Counter()
    for name in _measured(results):
        parameters = benchmarks[name]["params"]
        values = results.get_result_value(name, parameters)
        for case, value in zip(product(*parameters), values, strict=True):
            counts[name.split(".")[0]] += 1
            if (value is None or math.isnan(value)) and not left_out(case):
                found.append(f"{name}({', '.join(case)}) was not measured")
    found.extend(
        f"{file}: {counts[file]} cases, {EXPECTED.get(file, 0)} expected"
        for file in sorted(EXPECTED.keys() | counts.keys())
        if counts[file] != EXPECTED.get(file, 0)
    )
    return found


def _measured(results: Results) -> list[str]:
    return [name for name in results.get_all_result_keys() if not name.startswith(FILED)]


def left_out(case: tuple[str, ...]) -> bool:
    """Whether a case needs torchao, which is not there."""
    return "'torchao'" in case and find_spec("torchao") is None


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
    exception = "" if find_spec("torchao") else ", but for torchao's, which is not installed"
    print(f"all {sum(EXPECTED.values())} cases of {len(EXPECTED)} files were measured{exception}")


if __name__ == "__main__":
    main()
