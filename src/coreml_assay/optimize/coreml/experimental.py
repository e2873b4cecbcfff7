"""Names that coremltools' guide imports from ``optimize.coreml.experimental``."""

from coreml_assay.optimize.coreml.activations import linear_quantize_activations
from coreml_assay.optimize.coreml.config import OpActivationLinearQuantizerConfig

__all__ = ["OpActivationLinearQuantizerConfig", "linear_quantize_activations"]
