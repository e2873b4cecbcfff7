"""Run the mutants of an area through the checks of their clauses: ``python -m mutants``.

One process for all of them, because most of a short run is importing. Each run ends at its first
failing check unless all are asked for; the reference runs to the end.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import pytest

from coreml_assay import conformance
from coreml_assay.conformance.runner import suite_settings
from mutants.areas import AREAS

CHECKS = sorted(Path(conformance.__file__).parent.glob("*/test_*.py"))


def run(implementation: str, clauses: set[str], results: Path, *options: str) -> None:
    """Run the checks of some clauses; only the files that name them are collected."""
    files = [
        str(file)
        for file in CHECKS
        if any(f'"{clause}"' in file.read_text(encoding="utf-8") for clause in clauses)
    ]
    chosen = [part for clause in sorted(clauses) for part in ("--clause", clause)]
    settings = suite_settings(implementation, 0, "quick", results)
    pytest.main([*files, *settings, "-p", "mutants.unshrunk", *chosen, *options])


def main(area: str, folder: Path, every_check: bool) -> None:
    mutants = AREAS[area]
    for mutant in mutants:
        name = f"{mutant.__module__}:{mutant.__name__}"
        results = folder / f"{mutant.__name__}.jsonl"
        with mutant().at_work() if mutant.throughout else nullcontext():
            run(name, {mutant.violates}, results, *([] if every_check else ["-x"]))
    run("reference", {mutant.violates for mutant in mutants}, folder / "reference.jsonl")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("folder", type=Path, help="where each mutant's results go, a file each")
    parser.add_argument("--every-check", action="store_true", help="not only up to one that fails")
    given = parser.parse_args()
    main(given.area, given.folder, given.every_check)
