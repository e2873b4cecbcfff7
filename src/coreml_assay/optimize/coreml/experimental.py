"""Names that coremltools' guide imports from ``optimize.coreml.experimental``."""

from __future__ import annotations

import attrs

from coreml_assay.optimize.coreml.activations import linear_quantize_activations
from coreml_assay.optimize.coreml.config import OpLinearQuantizerConfig

__all__ = ["OpActivationLinearQuantizerConfig", "linear_quantize_activations"]


@attrs.define
class OpActivationLinearQuantizerConfig(OpLinearQuantizerConfig):
    """How the activations of an op are quantized: ``mode``, and ``dtype`` int8 or uint8.

    The other options of `OpLinearQuantizerConfig` are accepted and have no effect;
    `linear_quantize_activations` warns of each.
    """
