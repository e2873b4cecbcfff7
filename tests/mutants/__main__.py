"""Run each mutant through the checks of its clause: ``python -m mutants FOLDER``.

One process for all of them, because most of a short run is importing. Each run ends at its first
failing check; the reference runs to the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coreml_assay.conformance.runner import pytest_arguments
from mutants import activations, gptq, weights

MUTANTS = [*weights.MUTANTS, *activations.MUTANTS, *gptq.MUTANTS]


def run(implementation: str, clauses: set[str], results: Path, *options: str) -> None:
    chosen = [part for clause in sorted(clauses) for part in ("--clause", clause)]
    pytest.main([*pytest_arguments(implementation, 0, "quick", results), *chosen, *options])


def main(folder: Path) -> None:
    for mutant in MUTANTS:
        results = folder / f"{mutant.__name__}.jsonl"
        run(f"{mutant.__module__}:{mutant.__name__}", {mutant.violates}, results, "-x")
    run("reference", {mutant.violates for mutant in MUTANTS}, folder / "reference.jsonl")


main(Path(sys.argv[1]))
