"""A layer's inputs as columns: the matrix that its weight, a row for each output, multiplies.

A convolution is a product with the patches that its kernel sees; with groups, one product each.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (*CONVOLUTIONS, nn.Linear)
"""The layers whose weights are matrices over columns."""


def groups_of(layer: Any) -> int:
    """How many products of matrices a layer is."""
    return layer.groups if isinstance(layer, CONVOLUTIONS) else 1


def weight_columns(layer: Any) -> int:
    """How many columns each of the layer's matrices has."""
    return math.prod(layer.weight.shape[1:])


def input_columns(layer: Any, inputs: torch.Tensor) -> torch.Tensor:
    """What the layer's matrices multiply.

    Args:
        layer: one of `LAYERS`.
        inputs: as the layer takes them: for `torch.nn.Linear` of any rank, for a convolution with
            a batch axis or without.

    Returns:
        Shape (groups, tokens, columns), the order of columns that of ``weight.flatten(1)``.
    """
    if not isinstance(layer, CONVOLUTIONS):
        return inputs.reshape(1, -1, inputs.shape[-1])
    axes = layer.weight.ndim - 2
    if inputs.ndim == axes + 1:
        inputs = inputs[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    patches = functional.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    for axis in range(axes):
        step = layer.dilation[axis]
        reach = step * (layer.kernel_size[axis] - 1) + 1
        patches = patches.unfold(2 + axis, reach, layer.stride[axis])[..., ::step]
    # batch, group, channel, places ..., kernel ... -> group, batch, places ..., channel, kernel ...
    patches = patches.unflatten(1, (layer.groups, -1))
    places, kernel = range(3, 3 + axes), range(3 + axes, 3 + 2 * axes)
    return patches.permute(1, 0, *places, 2, *kernel).reshape(
        layer.groups, -1, weight_columns(layer)
    )
