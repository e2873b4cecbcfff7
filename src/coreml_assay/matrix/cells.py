"""A cell: an area of the suite on an implementation, kept as a file that says what it stems from.

A file counts only if it is whole and untouched, and if all that determines its content is the same
today; otherwise the cell is measured again.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import shutil
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import attrs
import msgspec

from coreml_assay.files import write_bytes
from coreml_assay.implementations import available, catalogue
from coreml_assay.numerics import native
from coreml_assay.records import SuiteRun


@attrs.frozen
class Cell:
    """What to measure.

    Attributes:
        implementation: the name to load it by.
        area: of the suite.
        seed: of the suite.
        profile: of the suite.
    """

    implementation: str
    area: str
    seed: int
    profile: str


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cell's file, all but its checksum."""

    stems_from: dict[str, str]
    suite: SuiteRun


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: str  # of the bytes of the content
    content: msgspec.Raw


def stems_from(cell: Cell) -> dict[str, str]:
    """All that determines what a cell measures, as found on this machine."""
    listed = catalogue().get(cell.implementation)
    entry = available().get(cell.implementation)
    adapter = entry.value if entry else listed.adapter if listed else cell.implementation
    return {
        "implementation": cell.implementation,
        "its adapter": adapter,
        "its packages": " ".join(listed.packages) if listed else "",
        "its code": _code_of(adapter),
        "area": cell.area,
        "seed": str(cell.seed),
        "profile": cell.profile,
        "coreml-assay": _code_of("coreml_assay"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "kernels": native.active(),
        "installed packages": _installed_packages(),
    }


def path_of(cell: Cell, folder: Path) -> Path:
    """Where a cell's file lies."""
    name = cell.implementation
    word = "".join(c if c.isalnum() or c in ".-_" else "-" for c in name)[:40]
    return folder / f"{word}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{cell.area}.json"


def read_cell(cell: Cell, folder: Path, sources: dict[str, str]) -> SuiteRun | None:
    """What was measured before; None if it was not, or the file does not count."""
    try:
        sealed = msgspec.json.decode(path_of(cell, folder).read_bytes(), type=_Sealed)
        if hashlib.sha256(sealed.content).hexdigest() != sealed.sha256:
            return None
        content = msgspec.json.decode(sealed.content, type=_Content)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return content.suite if content.stems_from == sources else None


def write_cell(cell: Cell, folder: Path, sources: dict[str, str], suite: SuiteRun) -> None:
    """Keep what was measured, whole or not at all."""
    content = msgspec.json.encode(_Content(sources, suite))
    sealed = _Sealed(hashlib.sha256(content).hexdigest(), msgspec.Raw(content))
    write_bytes(path_of(cell, folder), msgspec.json.encode(sealed))


def _code_of(adapter: str) -> str:
    """A checksum over the source of an adapter's package, or over a command's files."""
    if adapter.startswith("command:"):
        words = shlex.split(adapter.removeprefix("command:"))
        found = [shutil.which(word) or word for word in words]
        return _checksum(path for path in map(Path, found) if path.is_file())
    return _checksum_of_package(adapter.split(":")[0].split(".")[0])


@cache
def _checksum_of_package(name: str) -> str:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "not found"
    if not spec.submodule_search_locations:
        return _checksum([Path(spec.origin)] if spec.origin else [])
    folders = map(Path, spec.submodule_search_locations)
    return _checksum(path for folder in folders for path in sorted(folder.rglob("*")))


def _checksum(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            total.update(f"{path.name} {len(content)}\n".encode() + content)
    return total.hexdigest()


@cache
def _installed_packages() -> str:
    names = sorted({f"{found.name} {found.version}" for found in distributions()})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
