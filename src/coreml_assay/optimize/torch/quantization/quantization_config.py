"""What the quantizers' configurations share."""

from coreml_assay.optimize.torch.optimization_config import QuantizationScheme

__all__ = ["QuantizationScheme"]
