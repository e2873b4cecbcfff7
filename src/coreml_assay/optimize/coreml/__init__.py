"""Quantization of Core ML models, under the names of coremltools.optimize.coreml."""

from coreml_assay.optimize.coreml import experimental
from coreml_assay.optimize.coreml.activations import linear_quantize_activations
from coreml_assay.optimize.coreml.config import (
    CompressionGranularity,
    OpLinearQuantizerConfig,
    OptimizationConfig,
)
from coreml_assay.optimize.coreml.metadata import (
    CoreMLOpMetaData,
    CoreMLWeightMetaData,
    get_weights_metadata,
)
from coreml_assay.optimize.coreml.report import (
    CompressedWeight,
    CompressionReport,
    QuantizedActivations,
)
from coreml_assay.optimize.coreml.weights import decompress_weights, linear_quantize_weights

__all__ = [
    "CompressedWeight",
    "CompressionGranularity",
    "CompressionReport",
    "CoreMLOpMetaData",
    "CoreMLWeightMetaData",
    "OpLinearQuantizerConfig",
    "OptimizationConfig",
    "QuantizedActivations",
    "decompress_weights",
    "experimental",
    "get_weights_metadata",
    "linear_quantize_activations",
    "linear_quantize_weights",
]
