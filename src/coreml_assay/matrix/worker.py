"""What a worker does, here or on another machine: measure one cell, in yet another process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs

from coreml_assay.conformance.runner import SuiteError, run_suite
from coreml_assay.implementations import ImplementationError, OverlayError
from coreml_assay.matrix.cells import Cell, stems_from
from coreml_assay.records import SuiteRun

# Cells run beside each other; one thread each is fastest, and the same on every machine.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@attrs.frozen
class Measured:
    """What became of a cell: a run of its area, or why there is none; and pytest's output."""

    cell: Cell
    suite: SuiteRun | None
    problem: str
    log: bytes


def measure_cell(task: tuple[Cell, dict[str, str]]) -> Measured:
    """Measure a cell, on whatever machine this is.

    Args:
        task: the cell, and what it stems from where it is wanted.
    """
    cell, wanted = task
    here = stems_from(cell)
    if here != wanted:
        unlike = ", ".join(key for key in wanted if here.get(key) != wanted[key])
        return Measured(cell, None, f"the worker's environment is another: {unlike}", b"")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "suite.log"
        suite, problem = None, ""
        try:
            suite = run_suite(
                cell.implementation,
                seed=cell.seed,
                profile=cell.profile,
                log=log,
                area=cell.area,
                variables=_ONE_THREAD,
            )
        except (ImplementationError, OverlayError, SuiteError) as error:
            problem = " ".join(str(error).replace(str(log), "its log").split())
        return Measured(cell, suite, problem, log.read_bytes() if log.exists() else b"")
