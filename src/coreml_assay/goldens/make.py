"""Making golden files from real coremltools: an explicit command, never part of a test run."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from safetensors.numpy import save

from coreml_assay.files import replacing_folder
from coreml_assay.goldens.make_activations import activation_cases
from coreml_assay.goldens.make_gptq import gptq_cases
from coreml_assay.goldens.make_linear_quantizer import linear_quantizer_cases
from coreml_assay.goldens.make_weights import SEED, weight_cases
from coreml_assay.goldens.store import (
    ARRAYS,
    BASE,
    CASES,
    MANIFEST,
    SCHEMA_VERSION,
    Manifest,
    frozen_goldens,
)
from coreml_assay.implementations import load_implementation
from coreml_assay.numerics.blocks import Array

Maker = Callable[[Any, dict[str, Array]], msgspec.Struct]

MAKERS: dict[str, Maker] = {
    "weights": weight_cases,
    "activations": activation_cases,
    "linear-quantizer": linear_quantizer_cases,
    "gptq": gptq_cases,
}
"""Area -> what makes its cases: given coremltools, it returns them and adds their arrays."""


def make_goldens(folder: Path, area: str) -> Manifest:
    """Make an area's golden files from the installed coremltools.

    Files that are the same for version 9.0 are not stored again, except by that version itself.

    Args:
        folder: to be made, or replaced as a whole.
        area: one of `MAKERS`.

    Raises:
        GoldenError: something that a case needs is not installed, or not part of this version.
    """
    coremltools: Any = load_implementation("coremltools")
    arrays: dict[str, Array] = {}
    cases = MAKERS[area](coremltools, arrays)
    files = {
        ARRAYS: save(arrays),
        CASES: msgspec.json.format(msgspec.json.encode(cases), indent=1) + b"\n",
    }
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    shared = _shared(f"{coremltools.name}-{coremltools.version}", area, sha256)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        area=area,
        implementation=coremltools.name,
        version=coremltools.version,
        command=f"coreml-assay goldens make {area}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seed=SEED,
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in ("coremltools", "numpy", "torch")},
        sha256=sha256,
        based_on=f"{BASE}/{area}" if shared else "",
        shared=shared,
    )
    files = {name: content for name, content in files.items() if name not in shared}
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    with replacing_folder(folder) as fresh:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
    return manifest


def _shared(version: str, area: str, sha256: dict[str, str]) -> tuple[str, ...]:
    """The files that another version than the base itself has in common with it."""
    if version == BASE:
        return ()
    base = frozen_goldens(f"{BASE}/{area}").manifest.sha256
    return tuple(name for name, checksum in sha256.items() if base[name] == checksum)
