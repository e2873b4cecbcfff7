"""Compression of PyTorch models with calibration data, one layer after another."""

from coreml_assay.optimize.torch.layerwise_compression.algorithms import (
    LayerwiseCompressionAlgorithm,
    LayerwiseCompressionAlgorithmConfig,
)
from coreml_assay.optimize.torch.layerwise_compression.gptq import GPTQ, ModuleGPTQConfig
from coreml_assay.optimize.torch.layerwise_compression.input_cacher import (
    DefaultInputCacher,
    FirstLayerInputCacher,
    GPTFirstLayerInputCacher,
)
from coreml_assay.optimize.torch.layerwise_compression.layerwise_compressor import (
    LayerwiseCompressor,
    LayerwiseCompressorConfig,
)

__all__ = [
    "GPTQ",
    "DefaultInputCacher",
    "FirstLayerInputCacher",
    "GPTFirstLayerInputCacher",
    "LayerwiseCompressionAlgorithm",
    "LayerwiseCompressionAlgorithmConfig",
    "LayerwiseCompressor",
    "LayerwiseCompressorConfig",
    "ModuleGPTQConfig",
]
