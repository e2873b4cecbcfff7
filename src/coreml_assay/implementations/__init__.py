"""What can be put under test: the protocol, one small adapter each, and how they are found."""

from coreml_assay.implementations.loading import ImplementationError, available, load_implementation
from coreml_assay.implementations.protocol import (
    CalibratedTensorFace,
    CalibratedWeightSpec,
    Face,
    Implementation,
    Unsupported,
    WeightSpec,
    faces,
    predicting,
)

__all__ = [
    "CalibratedTensorFace",
    "CalibratedWeightSpec",
    "Face",
    "Implementation",
    "ImplementationError",
    "Unsupported",
    "WeightSpec",
    "available",
    "faces",
    "load_implementation",
    "predicting",
]
