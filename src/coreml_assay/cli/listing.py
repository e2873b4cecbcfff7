"""``coreml-assay deviations``: what is known."""

from __future__ import annotations

import click
import msgspec

from coreml_assay.cli.common import json_option, reporting_errors
from coreml_assay.conformance.registry import load_deviations


@click.command()
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
