"""The reference for PyTorch models, under the module paths of coremltools.optimize.torch."""

from coreml_assay.optimize.torch import (
    base_model_optimizer,
    layerwise_compression,
    optimization_config,
    quantization,
)

__all__ = ["base_model_optimizer", "layerwise_compression", "optimization_config", "quantization"]
