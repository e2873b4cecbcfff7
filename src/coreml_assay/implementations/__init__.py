"""What can be put under test: the protocol, one small adapter each, and how they are found."""

from coreml_assay.implementations.environments import (
    OverlayError,
    apart,
    catalogue,
    install,
    install_command,
    is_installed,
    process_environment,
    require_installed,
)
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
    "OverlayError",
    "Unsupported",
    "WeightSpec",
    "apart",
    "available",
    "catalogue",
    "faces",
    "install",
    "install_command",
    "is_installed",
    "load_implementation",
    "predicting",
    "process_environment",
    "require_installed",
]
