"""Quantization of PyTorch models."""

from coreml_assay.optimize.torch.layerwise_compression import (
    LayerwiseCompressor,
    LayerwiseCompressorConfig,
    ModuleGPTQConfig,
)
from coreml_assay.optimize.torch.optimization_config import QuantizationGranularity
from coreml_assay.optimize.torch.quantization.post_training_quantization import (
    ModulePostTrainingQuantizerConfig,
    PostTrainingQuantizer,
    PostTrainingQuantizerConfig,
)
from coreml_assay.optimize.torch.quantization.quantization_config import QuantizationScheme

__all__ = [
    "LayerwiseCompressor",
    "LayerwiseCompressorConfig",
    "ModuleGPTQConfig",
    "ModulePostTrainingQuantizerConfig",
    "PostTrainingQuantizer",
    "PostTrainingQuantizerConfig",
    "QuantizationGranularity",
    "QuantizationScheme",
]
