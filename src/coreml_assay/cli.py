"""The command line: ``coreml-assay run | gate | report | goldens | deviations``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from coreml_assay import __version__
from coreml_assay.assay import Plan, run, shipped_models
from coreml_assay.conformance.registry import load_clauses, load_deviations
from coreml_assay.conformance.runner import SuiteError
from coreml_assay.gate import Verdict, judge, write_report
from coreml_assay.goldens.make import make_goldens
from coreml_assay.goldens.store import (
    FROZEN,
    GoldenError,
    data_folder,
    frozen_goldens,
    load_goldens,
)
from coreml_assay.implementations import ImplementationError, available
from coreml_assay.mil.program import PackageError
from coreml_assay.records import Record, RecordError, read_record, record_schema
from coreml_assay.terminal import show_verdict, stage_progress

P = ParamSpec("P")

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
DEFAULT_SEED = 20260101
DEFAULT_CASES = 5200


json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


def reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a user can do wrong into one line and exit code 2, Ctrl-C into 130."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (
            GoldenError,
            ImplementationError,
            PackageError,
            RecordError,
            SuiteError,
            OSError,
        ) as error:
            Console(stderr=True, soft_wrap=True, highlight=False).print(
                f"[red]error:[/red] {_one_line(error)}", markup=True
            )
            sys.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("interrupted; nothing was written", err=True)
            sys.exit(EXIT_INTERRUPTED)

    return wrapper


def _one_line(error: BaseException) -> str:
    return escape(" ".join(str(error).split()))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Is this quantizer right? Is it as accurate as before?

    coreml-assay runs documented behaviour of Core ML quantization as checks over an
    implementation, quantizes real models with it, and says in one verdict whether anything is
    wrong or got worse.

    \b
    First steps:
      coreml-assay run                     the reference and the installed coremltools
      coreml-assay run -i my_package:Mine  your own implementation
      coreml-assay gate BASELINE RECORD    compare a run with an accepted one

    \b
    Exit codes, for every command:
      0  pass
      1  regression: something is wrong or got worse
      2  bad input: a file, a name or an option
      3  nothing was measured
    """


@main.command("run")
@click.option(
    "-i",
    "--implementation",
    "implementations",
    multiple=True,
    default=("reference", "coremltools"),
    show_default="reference and coremltools",
    metavar="NAME",
    help="Implementation under test: an installed one, or module:object. Can be repeated.",
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
@click.option(
    "-b",
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="RECORD",
    help="Also compare with an accepted record.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("assay-report"),
    show_default=True,
    metavar="FOLDER",
    help="Where the report, the record and logs go.",
)
@click.option(
    "--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Of all that is random."
)
@click.option(
    "--profile",
    type=click.Choice(["quick", "thorough"]),
    default="quick",
    show_default=True,
    help="How many inputs each property is tried on.",
)
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
    shipped, missing = shipped_models() if use_shipped else ({}, [])
    for command in missing:
        console.print(f"a real model is not installed and will not be measured: {command}")
    plan = Plan(
        implementations=tuple(dict.fromkeys(implementations)),
        seed=seed,
        profile=profile,
        cases=cases,
        models={**shipped, **{_model_name(path): path for path in models}},
        logs=output / "logs",
    )
    with stage_progress(console) as progress:
        record = run(plan, progress)
    _conclude(record, accepted, output, as_json, console)


@main.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("record", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write the report there.",
)
@json_option
@reporting_errors
def gate(baseline: Path, record: Path, output: Path | None, as_json: bool) -> None:
    """Compare RECORD with BASELINE, a record that was accepted before.

    Both are record.json files that `coreml-assay run` wrote.
    """
    accepted, measured = read_record(baseline), read_record(record)
    _conclude(measured, accepted, output, as_json, Console(stderr=as_json, highlight=False))


@main.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("assay-report"),
    show_default=True,
    metavar="FOLDER",
)
@reporting_errors
def report(record: Path, output: Path) -> None:
    """Write the report of a RECORD again: HTML, Markdown, JUnit XML."""
    _conclude(read_record(record), None, output, False, Console(highlight=False))


@main.command()
@reporting_errors
def schema() -> None:
    """Print the JSON Schema of a record."""
    click.echo(record_schema().decode(), nl=False)


@main.command()
@json_option
@reporting_errors
def deviations(as_json: bool) -> None:
    """List the known differences between documentation and implementations."""
    found = load_deviations()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    for entry in found:
        click.echo(f"{entry.severity} {entry.id}  [{entry.implementation} {entry.versions}]")
        click.echo(f"    {entry.title}")
        click.echo(f"    clauses {', '.join(entry.clauses)}; decided for: {entry.decision}")


@main.command()
@reporting_errors
def implementations() -> None:
    """List the installed implementations."""
    for name, entry in available().items():
        click.echo(f"{name:<16} {entry.value}")


@main.group()
def goldens() -> None:
    """Golden files: what real coremltools produced, frozen."""


@goldens.command("verify")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@reporting_errors
def verify_goldens(folder: Path | None) -> None:
    """Check the frozen goldens, or those in FOLDER, against their checksums."""
    names = dict.fromkeys(FROZEN, frozen_goldens) if folder is None else {}
    for name in names:
        _show_goldens(frozen_goldens(name), name)
    if folder is not None:
        _show_goldens(load_goldens(folder), str(folder))


def _show_goldens(found: Any, name: str) -> None:
    cases = found.cases
    click.echo(
        f"{name}: intact; {len(cases.arrays)} arrays, {len(cases.programs)} programs, "
        f"{len(cases.models)} models, {len(cases.torch)} PyTorch layers, "
        f"made {found.manifest.created}"
    )


@goldens.command("make")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@reporting_errors
def make_goldens_command(folder: Path | None) -> None:
    """Make goldens from the installed coremltools.

    Without FOLDER the frozen ones are replaced: a deliberate act, whose manifest's checksum then
    has to be put into goldens/store.py.
    """
    target = folder or data_folder() / f"coremltools-{version('coremltools')}"
    make_goldens(target)
    _show_goldens(load_goldens(target), str(target))


def _model_name(path: Path) -> str:
    return path.name.removesuffix(".mlpackage")


def _conclude(
    record: Record, baseline: Record | None, output: Path | None, as_json: bool, console: Console
) -> None:
    """Judge, write the report, show the verdict, and exit with its code."""
    verdict = judge(record, baseline)
    if output is not None:
        write_report(output, record, verdict, load_clauses(), load_deviations())
    if as_json:
        click.echo(_as_json(verdict))
    show_verdict(console, record, verdict, output)
    sys.exit(verdict.status.exit_code)


def _as_json(verdict: Verdict) -> str:
    return json.dumps(
        {
            "status": verdict.status.value,
            "exit_code": verdict.status.exit_code,
            "reasons": [f"{reason.subject}: {reason.sentence}" for reason in verdict.reasons],
            "notes": [f"{note.subject}: {note.sentence}" for note in verdict.notes],
        },
        indent=2,
    )
