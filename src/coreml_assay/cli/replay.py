"""``coreml-assay replay``: one check of a record, once more."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from coreml_assay.cli.common import reporting_errors
from coreml_assay.conformance.replay import Replay, replay, suites_with
from coreml_assay.records import Outcome, read_record

EXIT_FAILED = 1


@click.command("replay")
@click.argument("record", type=click.Path(path_type=Path))
@click.argument("check")
@click.option(
    "-i",
    "--implementation",
    metavar="NAME",
    help="The one of the record's implementations to run it on (default: all that it ran on).",
)
@reporting_errors
def replay_command(record: Path, check: str, implementation: str | None) -> None:
    """Run a CHECK of a RECORD again, with the record's seed and profile.

    The check is named as the report names it, and is tried on the inputs of that run. Exit code
    1 says that it fails.
    """
    recorded = read_record(record)
    failed = False
    for suite in suites_with(recorded, check, implementation):
        click.echo(
            f"{suite.implementation} {suite.version}, seed {recorded.seed}, "
            f"profile {recorded.profile}"
        )
        found = replay(recorded, suite, check)
        _show(found)
        failed = failed or found.now.outcome in (Outcome.FAIL, Outcome.FIXED)
    sys.exit(EXIT_FAILED if failed else 0)


def _show(found: Replay) -> None:
    now = found.now.outcome.value
    if found.version != found.recorded_version:
        now += f" (of {found.implementation} {found.version})"
    click.echo(f"recorded: {found.before.outcome.value}")
    click.echo(f"now:      {now}")
    if found.now.detail:
        click.echo(found.now.detail)
