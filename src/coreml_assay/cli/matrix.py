"""``coreml-assay matrix``: the suite over every implementation there is."""

from __future__ import annotations

from pathlib import Path

import click
import joblib
from rich.console import Console

from coreml_assay.cli.common import (
    baseline_option,
    conclude,
    json_option,
    profile_option,
    reporting_errors,
    seed_option,
)
from coreml_assay.conformance.registry import AREAS
from coreml_assay.implementations import require_installed
from coreml_assay.matrix.backends import BACKENDS
from coreml_assay.matrix.run import Plan, known_names, run_matrix
from coreml_assay.records import read_record
from coreml_assay.terminal import stage_progress


@click.command("matrix")
@click.option(
    "-i",
    "--implementation",
    "implementations",
    multiple=True,
    metavar="NAME",
    help="Under test, as `run` takes it. Can be repeated. By default all that there are.",
)
@click.option(
    "--area",
    "areas",
    multiple=True,
    type=click.Choice(AREAS),
    help="Of the suite. Can be repeated. By default all.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("assay-matrix"),
    show_default=True,
    metavar="FOLDER",
    help="Where the report, the record, logs and finished cells go.",
)
@baseline_option
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=joblib.cpu_count,
    show_default="one for each core",
    help="How many cells at a time.",
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="loky",
    show_default=True,
    help="What joblib sends cells to: processes or threads here, or a cluster.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Of a Dask or Ray cluster; without it, one is started on this machine.",
)
@seed_option
@profile_option
@json_option
@reporting_errors
def matrix_command(
    implementations: tuple[str, ...],
    areas: tuple[str, ...],
    output: Path,
    baseline: Path | None,
    jobs: int,
    backend: str,
    scheduler: str | None,
    seed: int,
    profile: str,
    as_json: bool,
) -> None:
    """Run the suite over every implementation there is, side by side.

    Work is shared out in cells, an area of the suite on an implementation each. A finished cell is
    kept in FOLDER; the same command measures what is not there yet, or has changed since. Those of
    the catalogue that are not installed are named, with the command that installs them.
    """
    accepted = None if baseline is None else read_record(baseline)
    for name in implementations:
        require_installed(name)
    console = Console(stderr=as_json, highlight=False)
    plan = Plan(
        implementations=tuple(dict.fromkeys(implementations)) or known_names(),
        seed=seed,
        profile=profile,
        folder=output,
        areas=tuple(area for area in AREAS if area in areas or not areas),
        backend=backend,
        jobs=jobs,
        scheduler=scheduler,
    )
    with stage_progress(console) as progress:
        record = run_matrix(plan, progress)
    conclude(record, accepted, output, as_json, console)
