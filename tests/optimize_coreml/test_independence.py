"""The reference stands on its own: it never imports what it is the reference for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import coreml_assay

FORBIDDEN = ("coremltools.optimize", "torch.ao")
SOURCES = sorted(
    file
    for package in ("optimize", "numerics", "mil")
    for file in (Path(coreml_assay.__file__).parent / package).rglob("*.py")
)


def imported(source):
    """Every module that a source imports, and every dotted name it reaches one by."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node).replace("ct.", "coremltools.", 1)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def forbidden(source):
    return [
        name
        for name in imported(source)
        if any(name == each or name.startswith(f"{each}.") for each in FORBIDDEN)
    ]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_reference_imports_nothing_it_is_the_reference_for(file):
    assert forbidden(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import coremltools.optimize as cto",
        "from coremltools import optimize",
        "from torch.ao.quantization import observer",
        "import coremltools as ct\nct.optimize.coreml",
        "import torch\ntorch.ao.quantization",
        "importlib.import_module('coremltools.optimize.coreml')",
    ],
)
def test_every_way_to_import_it_would_be_noticed(source):
    assert forbidden(source)
