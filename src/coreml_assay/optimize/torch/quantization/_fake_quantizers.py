"""Fake quantizers as a configuration asks for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from coreml_assay.numerics import Grid
from coreml_assay.numerics.fake_quantize import (
    FakeQuantizer,
    FakeQuantizerBase,
    FixedFakeQuantizer,
    LearnableFakeQuantizer,
    RangeObserver,
)
from coreml_assay.optimize.torch.quantization._linear_config import ModuleLinearQuantizerConfig
from coreml_assay.optimize.torch.quantization.quantization_config import QuantizationScheme


def for_weight(layer: nn.Module, config: ModuleLinearQuantizerConfig) -> FakeQuantizerBase | None:
    """The fake quantizer of a layer's weight, or None if it stays floating point."""
    if not config.quantizes_weights:
        return None
    weight: Any = layer.weight
    axis = 1 if "Transpose" in type(layer).__name__ else 0
    channels = None
    if config.weight_per_channel:
        channels = layer.out_channels if hasattr(layer, "out_channels") else weight.shape[axis]
        if axis and layer.groups != 1:  # the output channels of all groups lie on one index
            channels = weight.shape[axis]
    observer = RangeObserver(config.weight_observer.value, channels, axis)
    signed = config.weight_dtype == torch.qint8
    grid = Grid(config.weight_n_bits, signed=signed, symmetric=False)
    return _made(config, grid, _is_symmetric(config), observer)


def for_activation(
    config: ModuleLinearQuantizerConfig, *, non_negative: bool, known: tuple[float, int] | None
) -> FakeQuantizerBase:
    """The fake quantizer of an activation.

    Args:
        config: of what gives or takes the activation.
        non_negative: whether it cannot be negative, so that all codes go to numbers from zero on.
        known: scale and zero point, where its range is known beforehand.
    """
    if known is not None:
        return _switched(config, FixedFakeQuantizer(*known))
    grid = Grid(8, signed=False, symmetric=False)
    observer = RangeObserver(config.activation_observer.value)
    return _made(config, grid, _is_symmetric(config) and not non_negative, observer)


def _is_symmetric(config: ModuleLinearQuantizerConfig) -> bool:
    return config.quantization_scheme is QuantizationScheme.symmetric


def _made(
    config: ModuleLinearQuantizerConfig, grid: Grid, symmetric: bool, observer: RangeObserver
) -> FakeQuantizerBase:
    kind = LearnableFakeQuantizer if config.algorithm == "learnable" else FakeQuantizer
    return _switched(config, kind(grid, symmetric, observer))


def _switched(
    config: ModuleLinearQuantizerConfig, quantizer: FakeQuantizerBase
) -> FakeQuantizerBase:
    """Off if milestones will switch it on, else on."""
    on = config.milestones is None
    quantizer.switch(observe=on, simulate=on)
    quantizer.milestones = config.milestones
    return quantizer
