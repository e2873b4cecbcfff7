"""The reference implementation, under the names and module paths of coremltools.optimize.

``import coreml_assay.optimize as cto`` takes the place of ``import coremltools.optimize as cto``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from coreml_assay.optimize import coreml

if TYPE_CHECKING:
    from coreml_assay.optimize import torch

__all__ = ["coreml", "torch"]


def __getattr__(name: str) -> Any:
    # PyTorch is an optional dependency: it is imported when the first quantizer for it is used.
    if name == "torch":
        return importlib.import_module("coreml_assay.optimize.torch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
