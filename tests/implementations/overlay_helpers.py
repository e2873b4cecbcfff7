"""Packages for overlays, made on the spot so that pip needs no network."""

from __future__ import annotations

import zipfile

from coreml_assay.implementations.environments import Entry

MODULE = """
class Sample:
    name, version = "sample", "{version}"
    def quantize_weight(self, weight, spec): ...
"""


def wheel(folder, version, name="sample_quantizer"):
    """A wheel with one module that holds an implementation."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", MODULE.format(version=version))
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def entry(folder, version):
    """A catalogue entry for such a wheel."""
    package = str(wheel(folder, version))
    return Entry(f"sample-{version}", "sample_quantizer:Sample", (package,), "a sample")
