"""``coreml-assay bench``: whether one side is slower than another, measured in one session."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from coreml_assay.cli.common import (
    EXIT_INTERRUPTED,
    as_json_text,
    json_option,
    reporting_errors,
    seed_option,
)
from coreml_assay.gate.times import MOST_STARTS, judge_times, settled
from coreml_assay.terminal import show_times, stage_progress
from coreml_assay.timing.records import TimeRecord, read_times, write_times
from coreml_assay.timing.revisions import export
from coreml_assay.timing.session import Effort, compare
from coreml_assay.timing.sides import Side, TimingError
from coreml_assay.timing.worker import IMPLEMENTATION_WORKLOADS, WORKLOADS


@click.command("bench")
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option(
    "--implementations",
    metavar="BEFORE,AFTER",
    help="Compare two implementations instead: installed ones, module:object or command:PROGRAM.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Where the revisions are.  [default: here]",
)
@click.option(
    "-w",
    "--workload",
    "workloads",
    multiple=True,
    type=click.Choice(list(WORKLOADS)),
    help="What to time; can be repeated.  [default: all]",
)
@click.option(
    "-b",
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="RECORD",
    help="Judge the ratio by that of an accepted times.json, from whatever machine.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("assay-times"),
    show_default=True,
    metavar="FOLDER",
    help="Where times.json goes.",
)
@seed_option
@json_option
@reporting_errors
def bench_command(
    before: str | None,
    after: str | None,
    implementations: str | None,
    repository: Path,
    workloads: tuple[str, ...],
    baseline: Path | None,
    output: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Tell whether AFTER is slower than BEFORE, two git revisions of this package.

    Each revision is exported into a temporary folder and its kernels are built there. Both are
    timed in turns, in one session, at one thread, by CPU time.
    """
    accepted = None if baseline is None else read_times(baseline)
    console = Console(stderr=as_json, highlight=False)
    with tempfile.TemporaryDirectory() as folder, stage_progress(console) as progress:
        if implementations is not None:
            if before is not None:
                raise TimingError("--implementations takes the place of BEFORE and AFTER")
            sides = _implementations(implementations)
            chosen = workloads or tuple(IMPLEMENTATION_WORKLOADS)
        else:
            if before is None or after is None:
                raise TimingError("two revisions are needed, or --implementations BEFORE,AFTER")
            sides = export(repository, before, after, Path(folder))
            chosen = workloads or tuple(WORKLOADS)
        record = compare(
            *sides,
            tuple(dict.fromkeys(chosen)),
            seed=seed,
            settled=settled,
            progress=progress,
            effort=Effort(starts=MOST_STARTS),
        )
    _conclude(record, accepted, output, as_json, console)


def _implementations(names: str) -> tuple[Side, Side]:
    found = [name.strip() for name in names.split(",")]
    if len(found) != 2 or not all(found):
        raise TimingError(f"--implementations takes two names with a comma, got {names!r}")
    before, after = (Side(name=name, implementation=name) for name in found)
    return before, after


def _conclude(
    record: TimeRecord,
    baseline: TimeRecord | None,
    output: Path,
    as_json: bool,
    console: Console,
) -> None:
    verdict = judge_times(record, baseline)
    path = output / "times.json"
    write_times(record, path)
    if as_json:
        click.echo(as_json_text(verdict))
    show_times(console, record, verdict, path)
    sys.exit(EXIT_INTERRUPTED if record.interrupted else verdict.status.exit_code)
