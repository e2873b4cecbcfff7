"""``coreml-assay implementations``: what can be put under test, and installing more of it."""

from __future__ import annotations

import difflib

import click

from coreml_assay.cli.common import reporting_errors
from coreml_assay.implementations import (
    ImplementationError,
    OverlayError,
    available,
    catalogue,
    install,
    install_command,
    is_installed,
)


@click.group(invoke_without_command=True)
@click.pass_context
def implementations(context: click.Context) -> None:
    """List the implementations: installed ones, and those that can be had."""
    if context.invoked_subcommand is not None:
        return
    for name, entry in available().items():
        click.echo(f"{name:<20} {'installed':<14} {entry.value.split(':')[0]}")
    missing = []
    for name, listed in catalogue().items():
        state = "installed" if is_installed(listed) else "not installed"
        click.echo(f"{name:<20} {state:<14} {listed.about}")
        if not is_installed(listed):
            missing.append(name)
    if missing:
        click.echo(f"\nTo install one that is not: {install_command('NAME')}")


@implementations.command("install")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Install all that can be had.")
@reporting_errors
def install_implementations(names: tuple[str, ...], everything: bool) -> None:
    """Install implementations of the catalogue, each in a folder of its own.

    Their dependencies are not installed; they come from the environment at hand. The folders are
    in the user's cache folder, or in the one that COREML_ASSAY_ENVIRONMENTS names.
    """
    if not names and not everything:
        raise click.UsageError("name what to install, or give --all")
    if everything:
        names = tuple(catalogue())
    for name in names:
        if name not in catalogue():
            near = difflib.get_close_matches(name, catalogue(), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ImplementationError(
                f"nothing to install is called {name!r}{hint}; there are {', '.join(catalogue())}"
            )
    failed = [name for name in names if not _installed(name)]
    if failed:
        raise OverlayError(
            f"{len(failed)} of {len(names)} could not be installed: {', '.join(failed)}"
        )


def _installed(name: str) -> bool:
    """Install one, and say how it went; one that fails does not keep the others from it."""
    entry = catalogue()[name]
    if is_installed(entry):
        click.echo(f"{name}: already installed")
        return True
    try:
        install(entry, click.echo)
    except OverlayError as error:
        click.echo(str(error), err=True)
        return False
    click.echo(f"{name}: installed")
    return True
