"""``coreml-assay goldens``: verifying and making golden files."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from coreml_assay.cli.common import reporting_errors
from coreml_assay.goldens.make import MAKERS, make_goldens
from coreml_assay.goldens.store import FROZEN, Goldens, data_folder, frozen_goldens, load_goldens


@click.group()
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


def _show_goldens(found: Goldens, name: str) -> None:
    counts = ", ".join(
        f"{len(getattr(found.cases, kind))} {kind}" for kind in found.cases.__struct_fields__
    )
    click.echo(f"{name}: intact; {counts}; made {found.manifest.created}")


@goldens.command("make")
@click.argument("area", type=click.Choice(sorted(MAKERS)))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@reporting_errors
def make_goldens_command(area: str, folder: Path | None) -> None:
    """Make an area's goldens from the installed coremltools.

    Without FOLDER the frozen ones are replaced: a deliberate act, whose manifest's checksum then
    has to be put into goldens/store.py.
    """
    target = folder or data_folder() / f"coremltools-{version('coremltools')}" / area
    make_goldens(target, area)
    _show_goldens(load_goldens(target), str(target))
