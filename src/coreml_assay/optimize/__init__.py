"""The reference implementation, under the names and module paths of coremltools.optimize.

``import coreml_assay.optimize as cto`` takes the place of ``import coremltools.optimize as cto``.
"""

from coreml_assay.optimize import coreml

__all__ = ["coreml"]
