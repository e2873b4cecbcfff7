"""``coreml-assay deviations``: what is known."""

from __future__ import annotations

import click
import msgspec

from coreml_assay.cli.common import json_option, reporting_errors
from coreml_assay.conformance.registry import load_deviations

_INDENT = "    "


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
        absent = entry.decision == "absent"
        decided = "not offered there" if absent else f"decided for: {entry.decision}"
        click.echo(f"{entry.severity} {entry.id}  [{entry.implementation} {entry.versions}]")
        for text in (entry.title, f"clauses {', '.join(entry.clauses)}; {decided}"):
            click.echo(click.wrap_text(text, 80, initial_indent=_INDENT, subsequent_indent=_INDENT))
