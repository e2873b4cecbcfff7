"""``coreml-assay schema``: the JSON Schema of each file that is for others to read or write."""

from __future__ import annotations

import click

from coreml_assay.implementations.case_folders import Case, Description, Result
from coreml_assay.records import Record, json_schema

_KINDS = {"record": Record, "case": Case, "description": Description, "result": Result}


@click.command()
@click.argument("kind", type=click.Choice(list(_KINDS)), default="record")
def schema(kind: str) -> None:
    """Print the JSON Schema of a record, or of a file of the command protocol."""
    click.echo(json_schema(_KINDS[kind]).decode(), nl=False)
