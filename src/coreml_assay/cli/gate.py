"""``coreml-assay gate | report``: what a record means."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from coreml_assay.cli.common import conclude, json_option, output_option, reporting_errors
from coreml_assay.records import read_record


@click.command()
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
    conclude(measured, accepted, output, as_json, Console(stderr=as_json, highlight=False))


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@output_option
@reporting_errors
def report(record: Path, output: Path) -> None:
    """Write the report of a RECORD again: HTML, Markdown, JUnit XML."""
    conclude(read_record(record), None, output, False, Console(highlight=False))
