"""What the commands share: errors as one line, options, and how a run ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click
from rich.console import Console
from rich.markup import escape

from coreml_assay.accuracy.own import DataError
from coreml_assay.conformance.registry import load_clauses, load_deviations
from coreml_assay.conformance.replay import ReplayError
from coreml_assay.conformance.runner import SuiteError
from coreml_assay.gate import Verdict, judge, write_report
from coreml_assay.gate.drift import DriftError, drifts
from coreml_assay.goldens.store import GoldenError
from coreml_assay.implementations import ImplementationError, OverlayError
from coreml_assay.matrix.backends import BackendError
from coreml_assay.matrix.run import Interrupted
from coreml_assay.mil.program import PackageError
from coreml_assay.records import Record, RecordError
from coreml_assay.terminal import show_verdict
from coreml_assay.timing.sides import TimingError

P = ParamSpec("P")

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
DEFAULT_SEED = 20260101

json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
seed_option = click.option(
    "--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Of all that is random."
)
profile_option = click.option(
    "--profile",
    type=click.Choice(["quick", "thorough"]),
    default="quick",
    show_default=True,
    help="How many inputs each property is tried on.",
)
baseline_option = click.option(
    "-b",
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="RECORD",
    help="Also compare with an accepted record.",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("assay-report"),
    show_default=True,
    metavar="FOLDER",
    help="Where the report, the record and logs go.",
)


def reporting_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a user can do wrong into one line and exit code 2, Ctrl-C into 130."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Interrupted as error:
            click.echo(str(error), err=True)
            sys.exit(EXIT_INTERRUPTED)
        except (
            BackendError,
            DataError,
            DriftError,
            GoldenError,
            ImplementationError,
            OverlayError,
            PackageError,
            RecordError,
            ReplayError,
            SuiteError,
            TimingError,
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


def conclude(
    record: Record, baseline: Record | None, output: Path | None, as_json: bool, console: Console
) -> None:
    """Judge, write the report, show the verdict, and exit with its code."""
    verdict = judge(record, baseline)
    if output is not None:
        listed = load_clauses(), load_deviations(), drifts(record.suites)
        write_report(output, record, verdict, *listed)
    if as_json:
        click.echo(as_json_text(verdict))
    show_verdict(console, record, verdict, output)
    sys.exit(verdict.status.exit_code)


def as_json_text(verdict: Verdict) -> str:
    """A verdict for programs to read."""
    return json.dumps(
        {
            "status": verdict.status.value,
            "exit_code": verdict.status.exit_code,
            "reasons": [f"{reason.subject}: {reason.sentence}" for reason in verdict.reasons],
            "notes": [f"{note.subject}: {note.sentence}" for note in verdict.notes],
        },
        indent=2,
    )
