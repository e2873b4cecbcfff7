"""What a layer-wise compression algorithm is, and where one's own is made known.

An algorithm is two classes registered under one name: a configuration, and what is built for each
layer, fed with the layer's calibration inputs, and then asked to compress it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import attrs
import torch

from coreml_assay.optimize.torch.layerwise_compression._registry import Registry
from coreml_assay.optimize.torch.optimization_config import ModuleOptimizationConfig


@attrs.define
class LayerwiseCompressionAlgorithmConfig(Registry, ModuleOptimizationConfig):
    """Base of the configurations; a subclass has an attribute ``algorithm``, its name."""

    _registered: ClassVar[dict[str, type[Any]]] = {}


class LayerwiseCompressionAlgorithm(Registry, ABC):
    """Base of the algorithms, each at work on one layer.

    Args:
        layer: to be compressed.
        config: how.

    Raises:
        ValueError: in the constructor: the layer cannot be compressed; it is then skipped, with
            the message as the reason.
    """

    _registered: ClassVar[dict[str, type[Any]]] = {}

    @abstractmethod
    def __init__(self, layer: torch.nn.Module, config: Any) -> None: ...

    @abstractmethod
    def add_batch(self, inp: torch.Tensor, out: torch.Tensor) -> None:
        """Take note of what went through the layer.

        Args:
            inp: the layer's input.
            out: what the layer made of it.
        """

    @abstractmethod
    def compress(self) -> None:
        """Change the layer's parameters, and register the metadata that conversion needs."""

    @abstractmethod
    def cleanup(self) -> None:
        """Let go of everything that was gathered."""

    def summary(self) -> dict[str, Any]:
        """Further columns for the layer's entry in the report."""
        return {}
