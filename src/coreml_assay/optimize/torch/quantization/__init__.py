"""Quantization of PyTorch models."""

from coreml_assay.optimize.torch.optimization_config import QuantizationGranularity
from coreml_assay.optimize.torch.quantization.post_training_quantization import (
    ModulePostTrainingQuantizerConfig,
    PostTrainingQuantizer,
    PostTrainingQuantizerConfig,
)
from coreml_assay.optimize.torch.quantization.quantization_config import QuantizationScheme

__all__ = [
    "ModulePostTrainingQuantizerConfig",
    "PostTrainingQuantizer",
    "PostTrainingQuantizerConfig",
    "QuantizationGranularity",
    "QuantizationScheme",
]
