"""Environments for implementations that cannot share one: overlays of a few packages each.

An overlay is a folder with the packages that an entry of ``catalogue.yaml`` names, without their
dependencies. A process that has it in front on PYTHONPATH imports these packages from it, and
torch, numpy and all else from the environment that coreml-assay runs in.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType

import msgspec
import platformdirs

from coreml_assay.files import replacing_folder

FOLDER_VARIABLE = "COREML_ASSAY_ENVIRONMENTS"
_LABEL = ".coreml-assay.json"
_FIRST_LINES = 3  # of pip's errors that an error of ours repeats


class OverlayError(RuntimeError):
    """An overlay that cannot be made or used; the message is one line."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One implementation that can be had.

    Attributes:
        name: what to load it by.
        adapter: ``module:object`` in this package.
        packages: pip's requirements, pinned; none for what needs nothing beside this environment.
        about: one line on what it is.
    """

    name: str
    adapter: str
    packages: tuple[str, ...]
    about: str


class _Label(msgspec.Struct, frozen=True):
    """What an overlay was made of; the last thing written into it."""

    packages: tuple[str, ...]


@cache
def catalogue() -> dict[str, Entry]:
    """What can be had, by name, in the catalogue's order."""
    content = resources.files(__package__).joinpath("catalogue.yaml").read_bytes()
    return {entry.name: entry for entry in msgspec.yaml.decode(content, type=list[Entry])}


def environments_folder() -> Path:
    """Where overlays live, those of each Python in a folder of their own."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    usual = platformdirs.user_cache_path("coreml-assay") / "environments"
    root = Path(chosen).absolute() if chosen else usual
    return root / (sys.implementation.cache_tag or sys.implementation.name)


def overlay(entry: Entry) -> Path:
    """The folder of an entry's packages, whether it is there or not."""
    return environments_folder() / entry.name


def is_installed(entry: Entry) -> bool:
    """Whether an entry's packages are at hand, those that the catalogue names today."""
    if not entry.packages:
        return True
    try:
        label = msgspec.json.decode((overlay(entry) / _LABEL).read_bytes(), type=_Label)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return label.packages == entry.packages


def apart(name: str) -> bool:
    """Whether an implementation needs a process of its own, for its packages' sake."""
    entry = catalogue().get(name)
    return entry is not None and bool(entry.packages)


def require_installed(name: str) -> None:
    """Refuse an entry of the catalogue whose packages are not at hand.

    Raises:
        OverlayError: with the command that installs them.
    """
    if name in catalogue() and not is_installed(catalogue()[name]):
        raise OverlayError(f"{name}: not installed; {install_command(name)}")


def install_command(*names: str) -> str:
    """What to type to have these entries installed."""
    return f"coreml-assay implementations install {' '.join(names)}"


def install(entry: Entry, progress: Callable[[str], None] = lambda line: None) -> None:
    """Have pip fill an entry's overlay; it takes its place whole or not at all.

    Args:
        entry: of the catalogue.
        progress: told what is being done, a line each.

    Raises:
        OverlayError: pip is missing, or failed; what was there before is as it was.
    """
    progress(f"{entry.name}: installing {', '.join(entry.packages)}")
    with replacing_folder(overlay(entry)) as fresh:
        options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, "--target", fresh, *entry.packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OverlayError(f"{entry.name}: pip failed: {_cause(done.stderr)}")
        (fresh / _LABEL).write_bytes(msgspec.json.encode(_Label(entry.packages)))


def _cause(output: str) -> str:
    """What pip says went wrong, without what it tried before."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return " ".join((errors or lines[-1:])[:_FIRST_LINES]) or "it said nothing"


def process_environment(name: str) -> dict[str, str]:
    """Environment variables for a process that is to load an implementation.

    Args:
        name: of any implementation; one that is in no catalogue needs nothing special.
    """
    variables = dict(os.environ)
    entry = catalogue().get(name)
    if entry is not None and entry.packages:
        before = variables.get("PYTHONPATH")
        folders = [str(overlay(entry)), *([before] if before else [])]
        variables["PYTHONPATH"] = os.pathsep.join(folders)
    return variables


def enter(entry: Entry) -> None:
    """Make this process import an entry's packages from its overlay.

    Raises:
        OverlayError: the overlay is not installed, or this process has imported one of the
            packages from elsewhere.
    """
    require_installed(entry.name)
    if not entry.packages:
        return
    folder = overlay(entry)
    for name in _modules(folder):
        if name in sys.modules and not _is_from(sys.modules[name], folder):
            raise OverlayError(
                f"{entry.name}: this process has another {name} already; start one with "
                f"PYTHONPATH={folder}"
            )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def _modules(folder: Path) -> list[str]:
    """The top-level modules and packages in a folder."""
    return sorted(
        {
            path.name.split(".")[0]
            for path in folder.iterdir()
            if path.name.isidentifier() or path.suffix in (".py", ".so", ".pyd")
        }
    )


def _is_from(module: ModuleType, folder: Path) -> bool:
    places = [module.__file__, *getattr(module, "__path__", ())]
    return any(Path(place).is_relative_to(folder) for place in places if place)
