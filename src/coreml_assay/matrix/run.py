"""One matrix: every cell measured or found, joined to a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import attrs
import msgspec

from coreml_assay.assay import new_record
from coreml_assay.conformance.registry import AREAS, check_count
from coreml_assay.conformance.runner import join_areas
from coreml_assay.files import write_bytes
from coreml_assay.implementations import available, catalogue, install_command, is_installed
from coreml_assay.matrix.backends import in_parallel
from coreml_assay.matrix.cells import Cell, path_of, read_cell, stems_from, write_cell
from coreml_assay.matrix.worker import Measured, measure_cell
from coreml_assay.records import NotRun, Record, SuiteRun

Progress = Callable[[str, int, int], None]  # stage, done, total


class Interrupted(Exception):  # noqa: N818 - not an error: someone pressed Ctrl-C
    """Raised when a matrix is interrupted; the message says what is kept."""


@attrs.frozen
class Plan:
    """What to measure, and where.

    Attributes:
        implementations: names; those of the catalogue that are not installed are recorded as such.
        seed: of everything random.
        profile: of the suite, "quick" or "thorough".
        folder: for the cells' files and pytest's output.
        areas: of the suite.
        backend: one of `BACKENDS`.
        jobs: how many cells at a time.
        scheduler: address of a cluster that is there already.
    """

    implementations: tuple[str, ...]
    seed: int
    profile: str
    folder: Path
    areas: tuple[str, ...] = AREAS
    backend: str = "loky"
    jobs: int = 1
    scheduler: str | None = None


def known_names() -> tuple[str, ...]:
    """Every implementation there is: installed ones, and all of the catalogue."""
    return tuple(dict.fromkeys([*available(), *catalogue()]))


def run_matrix(plan: Plan, progress: Progress) -> Record:
    """Measure the cells that are not there yet; the record is the same however they came about.

    Args:
        plan: what to measure.
        progress: told an implementation, how many of its cells are done, and of how many.

    Raises:
        BackendError: the backend cannot be used.
        Interrupted: by Ctrl-C; cells that were done are kept and count in the next run.
    """
    missing = [name for name in plan.implementations if _is_missing(name)]
    present = [name for name in plan.implementations if name not in missing]
    cells = [Cell(name, area, plan.seed, plan.profile) for name in present for area in plan.areas]
    found = _measure(plan, cells, progress)
    return msgspec.structs.replace(
        new_record(plan.seed, plan.profile),
        suites=tuple(_suites(plan, present, found)),
        not_run=(
            *(_not_installed(name) for name in missing),
            *(failure for name in present for failure in _failures(plan, name, found)),
        ),
    )


def _is_missing(name: str) -> bool:
    return name not in available() and name in catalogue() and not is_installed(catalogue()[name])


def _measure(plan: Plan, cells: Sequence[Cell], progress: Progress) -> dict[Cell, Measured]:
    folder = plan.folder / "cells"
    sources = {cell: stems_from(cell) for cell in cells}
    found: dict[Cell, Measured] = {}

    def tell(name: str) -> None:
        done = sum(cell.implementation == name for cell in found)
        progress(name, done, sum(cell.implementation == name for cell in cells))

    for cell in cells:
        kept = read_cell(cell, folder, sources[cell])
        if kept is not None:
            found[cell] = Measured(cell, kept, "", b"")
    for name in dict.fromkeys(cell.implementation for cell in cells):
        tell(name)
    tasks = [(cell, sources[cell]) for cell in cells if cell not in found]
    if not tasks:
        return found
    where = {"backend": plan.backend, "jobs": plan.jobs, "scheduler": plan.scheduler}
    results = in_parallel(measure_cell, tasks, **where)  # type: ignore[arg-type]
    try:
        with closing(results):  # type: ignore[type-var]
            for measured in results:
                cell = measured.cell
                write_bytes(plan.folder / "logs" / path_of(cell, Path()).name, measured.log)
                if measured.suite is not None:
                    write_cell(cell, folder, sources[cell], measured.suite)
                found[cell] = measured
                tell(cell.implementation)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; {len(found)} of {len(cells)} cells are kept in {folder}, "
            "and the same command goes on from there"
        ) from None
    return found


def _suites(plan: Plan, names: Iterable[str], found: dict[Cell, Measured]) -> Iterable[SuiteRun]:
    for name in names:
        parts = [
            measured.suite
            for cell, measured in found.items()
            if cell.implementation == name and measured.suite is not None
        ]
        if parts:
            # An area that could not be run is missing from what was to be checked.
            expected = sum(map(check_count, plan.areas))
            yield msgspec.structs.replace(join_areas(parts), checks_expected=expected)


def _failures(plan: Plan, name: str, found: dict[Cell, Measured]) -> Iterable[NotRun]:
    problems: dict[str, list[str]] = {}
    for area in plan.areas:
        problem = found[Cell(name, area, plan.seed, plan.profile)].problem
        if problem:
            problems.setdefault(problem, []).append(area)
    for problem, areas in problems.items():
        yield NotRun(implementation=name, areas=tuple(areas), state="failed", detail=problem)


def _not_installed(name: str) -> NotRun:
    command = install_command(name)
    return NotRun(implementation=name, areas=(), state="not installed", detail=command)
