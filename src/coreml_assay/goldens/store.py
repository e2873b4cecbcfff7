"""Reading golden files: nothing is used before its checksum has been compared."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.numpy import load

from coreml_assay.goldens import areas
from coreml_assay.numerics.blocks import Array

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
CASES = "cases.json"
BASE = "coremltools-9.0"
"""The version whose files other versions' folders share where they are the same."""

# Each folder's manifest, which holds the checksums of all its other files.
FROZEN = {
    "coremltools-8.0/weights": "10f68d3fead032e1da45eaff1e34b1053cdd2f7bce8d71160eacf1ce66844547",
    "coremltools-8.0/linear-quantizer": (
        "418e17d85f9d75014f1ac20085aead1126a2c4b1caca5fce27edc8bbdcc333d0"
    ),
    "coremltools-8.0/gptq": "a1a34a161f6c061f38296245cef926029ecb1c6f7c3c907c5c184317f520dd4d",
    "coremltools-8.1/weights": "9ab4dbaffb30cea1a6b873bfaffdd16e6484d146222a0be3b6399d12b3d626ce",
    "coremltools-8.1/linear-quantizer": (
        "4836722c627c609c3bc503c2b8cb09d530a6f7f29414b78120f558431f862894"
    ),
    "coremltools-8.1/gptq": "e03259a380d966b34e636d8a7a88c9eef86cb2cb53917c1dbb58c925b75cae53",
    "coremltools-8.2/weights": "c5962acbfd2410548da398e63e418023cec917b91e5c22b4223509d36183e395",
    "coremltools-8.2/activations": (
        "89784103df1015619c7afcfa98576c97557a2858e3f3bd2c283deb9f26b76e3e"
    ),
    "coremltools-8.2/linear-quantizer": (
        "0fb6b7110baa50e270d1242bfc2fbbeb99425b646d245820329c53e18a269788"
    ),
    "coremltools-8.2/gptq": "bc702f0fd7c3380f9f000b14421914f0edc20e57ff85e43f9d5f24b3ede5dea7",
    "coremltools-8.3.0/weights": (
        "8504ace4658b45f95bfc9cc7911412b1d4e88903b7b2e037e04622a2a09b87b9"
    ),
    "coremltools-8.3.0/activations": (
        "68db66ccfcb132554bc5e87a35f0460c297abd3d3b658602e5ba8d7c9fa94b31"
    ),
    "coremltools-8.3.0/linear-quantizer": (
        "5aa57b4cda62d17f2dc31ef1f89b62c89f4cf1b9b8b15d2343770858cdb5a8f2"
    ),
    "coremltools-8.3.0/gptq": "e72b5fc03b69aa8bd87c673af9253a1ab1daf453c04379e32935ea1c43cc9c31",
    "coremltools-9.0/weights": "263568cb54bfaec300f62bb5d3c65a7465f2e28da48decf4cec0750584f916cf",
    "coremltools-9.0/activations": (
        "69df82af0d8e0cb868e582f9d8e3e69e4f7c1662f8ba690ebd4e52e79876aa94"
    ),
    "coremltools-9.0/linear-quantizer": (
        "15b7c94f0f1ab59346cc19753005848e597e240d4d34c5389a15a807bbbfdb12"
    ),
    "coremltools-9.0/gptq": "2a37b6dba46b9b797febb4a5ced10c588d004029a6bebea77490af2d1e4bd2b5",
}


class GoldenError(ValueError):
    """Golden files that are missing, changed or foreign; the message is one line."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What golden files were made by, and the checksums of all, wherever they lie."""

    schema_version: int
    area: str = "weights"  # the first area was frozen before there were others
    implementation: str
    version: str
    command: str
    created: str
    seed: int
    platform: str
    python: str
    packages: dict[str, str]
    sha256: dict[str, str]
    based_on: str = ""  # the frozen folder that holds the files below
    shared: tuple[str, ...] = ()  # files that are the same there, and not stored again


class _Versioned(msgspec.Struct):
    schema_version: int


class Goldens(msgspec.Struct, frozen=True, kw_only=True):
    """A golden folder, checked and read."""

    manifest: Manifest
    cases: Any  # of the area's type
    arrays: dict[str, Array]


def data_folder() -> Path:
    """Where the frozen folders lie."""
    return Path(str(resources.files("coreml_assay.goldens"))) / "data"


def load_goldens(folder: Path, manifest_sha256: str | None = None) -> Goldens:
    """Check and read a golden folder.

    Args:
        folder: holds a manifest and the files it names, nothing else.
        manifest_sha256: what the manifest's own checksum has to be, where it is known.

    Raises:
        GoldenError: a file is missing, changed, foreign or not readable; the message names it.
    """
    contents = {MANIFEST: _read(folder / MANIFEST)}
    if manifest_sha256 is not None:
        _compare(folder / MANIFEST, contents[MANIFEST], manifest_sha256)
    # A newer schema may have fields that this one does not know: its number is looked at first.
    found = _decode(folder / MANIFEST, contents[MANIFEST], _Versioned).schema_version
    if found > SCHEMA_VERSION:
        raise GoldenError(
            f"{folder / MANIFEST}: written with golden schema {found}; this coreml-assay reads "
            f"schema {SCHEMA_VERSION} and older"
        )
    manifest = _decode(folder / MANIFEST, contents[MANIFEST], Manifest)
    if missing := {ARRAYS, CASES} - manifest.sha256.keys():
        raise GoldenError(f"{folder / MANIFEST}: holds no checksum of {', '.join(sorted(missing))}")
    own = manifest.sha256.keys() - set(manifest.shared)
    foreign = sorted({file.name for file in folder.iterdir()} - {MANIFEST, *own})
    if foreign:
        raise GoldenError(f"{folder / foreign[0]}: not in the manifest; remove it")
    for name, expected in manifest.sha256.items():
        path = (folder if name in own else _base(folder, manifest)) / name
        contents[name] = _read(path)
        _compare(path, contents[name], expected)
    return Goldens(
        manifest=manifest,
        cases=_decode(folder / CASES, contents[CASES], _cases_type(folder, manifest)),
        arrays=_load_arrays(folder / ARRAYS, contents[ARRAYS]),
    )


def frozen_goldens(name: str) -> Goldens:
    """The frozen folder of a name such as ``coremltools-9.0/weights``.

    Raises:
        GoldenError: there is none, or as `load_goldens`.
    """
    if name not in FROZEN:
        raise GoldenError(f"no goldens named {name!r}; frozen are {', '.join(FROZEN)}")
    return load_goldens(data_folder() / name, FROZEN[name])


def _base(folder: Path, manifest: Manifest) -> Path:
    """The folder that holds the files shared with another version."""
    if manifest.based_on not in FROZEN:
        raise GoldenError(
            f"{folder / MANIFEST}: based on {manifest.based_on!r}, which is not frozen"
        )
    return data_folder() / manifest.based_on


def _cases_type(folder: Path, manifest: Manifest) -> type[msgspec.Struct]:
    if manifest.area not in areas.CASES:
        raise GoldenError(
            f"{folder / MANIFEST}: of the unknown area {manifest.area!r}; known are "
            f"{', '.join(areas.CASES)}"
        )
    return areas.CASES[manifest.area]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GoldenError(f"{path}: cannot be read: {error.strerror}") from error


def _compare(path: Path, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise GoldenError(
            f"{path}: changed since it was made: SHA-256 is {found[:16]}..., "
            f"expected {expected[:16]}..."
        )


def _decode(path: Path, content: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    # Beside its own errors msgspec lets through bytes that are not UTF-8 and nesting without end.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GoldenError(f"{path}: not readable: {' '.join(str(error).split())}") from error


def _load_arrays(path: Path, content: bytes) -> dict[str, Array]:
    try:
        return dict(load(content))
    except SafetensorError as error:
        raise GoldenError(f"{path}: not readable: {' '.join(str(error).split())}") from error
