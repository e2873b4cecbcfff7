"""``coreml-assay drift``: what changed from one version of an implementation to another."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import click
import msgspec

from coreml_assay.cli.common import json_option, reporting_errors
from coreml_assay.gate.drift import Change, Drift, drift
from coreml_assay.gate.words import count
from coreml_assay.records import read_record

_WIDTH = 80


@click.command("drift")
@click.argument("old")
@click.argument("new")
@click.option(
    "--record",
    "records",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RECORD",
    help="That holds a suite of either; for example a matrix's. Can be repeated.",
)
@json_option
@reporting_errors
def drift_command(old: str, new: str, records: tuple[Path, ...], as_json: bool) -> None:
    """Tell what changed from OLD to NEW, for example coremltools-8.0 to coremltools-9.0.

    Ends with 1 if anything changed, and with 0 if nothing did.
    """
    suites = [suite for path in records for suite in read_record(path).suites]
    found = drift(old, new, suites)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        click.echo(drift_text(found))
    sys.exit(1 if found.changes else 0)


def drift_text(found: Drift) -> str:
    """A drift in lines of at most 80 columns."""
    summary = f"{found.old} -> {found.new}: {_changes(len(found.changes))}"
    lines = [summary, *_wrapped(f"compared: {', '.join(found.compared)}", "  ")]
    for change in found.changes:
        lines += _wrapped(_headline(change), "  ")
        for line in change.example.split("\n"):
            lines += _wrapped(line, "      ")
    return "\n".join(lines)


def _changes(number: int) -> str:
    return count(number, "change") if number else "no changes"


def _headline(change: Change) -> str:
    amount = f", {change.count} of {change.of}" if change.kind != "deviation" else ""
    return f"{change.kind} {change.what}{amount}"


def _wrapped(line: str, indent: str) -> list[str]:
    return textwrap.wrap(
        line, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )
