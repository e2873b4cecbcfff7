"""``coreml-assay latency prepare | collect | ingest``: how long predictions take on a device."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import msgspec
from rich.console import Console

from coreml_assay.assay import new_record, shipped_models
from coreml_assay.cli.common import (
    baseline_option,
    conclude,
    json_option,
    output_option,
    reporting_errors,
    seed_option,
)
from coreml_assay.latency.backends import Backend, EvaluatorBackend, UnavailableError
from coreml_assay.latency.collect import collect
from coreml_assay.latency.coreml import CoreMLBackend, Kind
from coreml_assay.latency.filing import file_results
from coreml_assay.latency.ingest import ingest
from coreml_assay.latency.plan import read_plan
from coreml_assay.latency.prepare import CHOICES, Wanted, prepare
from coreml_assay.mil.program import PackageError
from coreml_assay.records import read_record
from coreml_assay.terminal import stage_progress

EXIT_NO_DEVICE = 4
DEFAULT_CONFIGURATIONS = ("as it is", "int8 per channel", "int4 per block 8")


@click.group()
def latency() -> None:
    """Latency on a device: prepare anywhere, collect on a Mac, ingest anywhere.

    \b
      coreml-assay latency prepare prepared              on any machine
      coreml-assay latency collect prepared collected    on the Mac
      coreml-assay latency ingest prepared collected     on any machine

    Without a device nothing is measured, and every table says so.
    """


@latency.command("prepare")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PACKAGE",
    help="An .mlpackage; can be repeated.  [default: the real models from published wheels]",
)
@click.option(
    "-c",
    "--configuration",
    "configurations",
    multiple=True,
    type=click.Choice(CHOICES),
    help=f"How to quantize; can be repeated.  [default: {', '.join(DEFAULT_CONFIGURATIONS)}]",
)
@click.option(
    "--pause",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two rounds of predictions.",
)
@seed_option
@reporting_errors
def prepare_command(
    folder: Path,
    models: tuple[Path, ...],
    configurations: tuple[str, ...],
    pause: float,
    seed: int,
) -> None:
    """Write FOLDER: packages, inputs, expected outputs, and the plan of runs."""
    named = {path.name.removesuffix(".mlpackage"): path for path in models}
    if len(named) < len(models):
        raise PackageError("two models have the same name")
    console = Console(highlight=False)
    if not named:
        named, missing = shipped_models()
        for command in missing:
            console.print(f"a real model is not installed and is left out: {command}")
        if not named:
            raise PackageError("no model to prepare: give one with --model")
    chosen = tuple(dict.fromkeys(configurations or DEFAULT_CONFIGURATIONS))
    wanted = Wanted(named, chosen, seed, pause_ns=round(pause * 1e9))
    with stage_progress(console) as progress:
        plan = prepare(wanted, folder, partial(progress, "cases"))
    console.print(f"{len(plan.cases)} cases in {folder}; next: latency collect {folder} collected")


@latency.command("collect")
@click.argument("prepared", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--backend",
    type=click.Choice(["coreml", "evaluator"]),
    default="coreml",
    show_default=True,
    help="The evaluator stands in on any CPU; its figures are no device's.",
)
@click.option(
    "--device",
    type=click.Choice(["mac", "iphone", "ipad"]),
    default="mac",
    show_default=True,
    help="What predicts: this Mac, or the one device of that kind connected to it.",
)
@click.option(
    "--team",
    default="",
    metavar="ID",
    help="The development team that signs coremltools' app for a connected device.",
)
@reporting_errors
def collect_command(prepared: Path, folder: Path, backend: str, device: Kind, team: str) -> None:
    """Run PREPARED's plan and write FOLDER.

    Ends with exit code 4, and one line, where there is no device to collect from.
    """
    console = Console(highlight=False)
    try:
        chosen: Backend = (
            EvaluatorBackend() if backend == "evaluator" else CoreMLBackend(device, team)
        )
    except UnavailableError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"no device: {error}")
        sys.exit(EXIT_NO_DEVICE)
    with stage_progress(console) as progress:
        session = collect(prepared, folder, chosen, partial(progress, "runs"))
    console.print(f"{len(session.runs)} runs in {folder}; next: latency ingest {prepared} {folder}")


@latency.command("ingest")
@click.argument("prepared", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@baseline_option
@click.option(
    "--asv",
    type=click.Path(path_type=Path),
    metavar="CONFIG",
    help="Also file the figures where this asv.conf.json keeps its results.",
)
@click.option(
    "--commit", default="HEAD", show_default=True, help="To file them under: what was measured."
)
@output_option
@json_option
@reporting_errors
def ingest_command(
    prepared: Path,
    folder: Path,
    baseline: Path | None,
    asv: Path | None,
    commit: str,
    output: Path,
    as_json: bool,
) -> None:
    """Check what was collected into FOLDER from PREPARED, report and judge it.

    A session that is incomplete or impossible is refused with the reason, and exit code 2.
    """
    accepted = None if baseline is None else read_record(baseline)
    _, results = ingest(prepared, folder)
    console = Console(stderr=as_json, highlight=False)
    if asv is not None:
        for case in file_results(results, asv, commit):
            console.print(f"not filed, because asv's benchmark has no such case: {case}")
    plan, _ = read_plan(prepared)
    record = msgspec.structs.replace(new_record(plan.seed, "latency"), latency=results)
    conclude(record, accepted, output, as_json, console)
