"""From a trained model to one that converts: codes' values as weights, quantize and dequantize."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from coreml_assay.numerics import Grid
from coreml_assay.numerics.fake_quantize import FakeQuantizer, FakeQuantizerBase, round_to_grid
from coreml_assay.optimize.torch._metadata import register_quantization, register_version
from coreml_assay.optimize.torch.quantization._trainable_layers import (
    TrainableLayer,
    plain_layer,
)

_CODES = Grid(8, signed=False, symmetric=False)


class QuantizeDequantize(nn.Module):
    """Rounds an activation to 8-bit codes and back, in operations that convert.

    Attributes:
        scale: float32, rank 0.
        zero_point: int32, rank 0.
    """

    def __init__(self, scale: torch.Tensor, zero_point: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone().reshape(()))
        self.register_buffer("zero_point", zero_point.detach().clone().reshape(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X on its grid."""
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            codes = torch.quantize_per_tensor(x, self.scale, self.zero_point, torch.quint8)
            return codes.dequantize()
        # Computed as the converted program computes it, which what is traced here does not.
        return round_to_grid(x, self.scale, self.zero_point, _CODES)


def finalize(model: fx.GraphModule) -> None:
    """Replace what is trained by what is converted.

    Args:
        model: prepared; is changed. Its fake quantizers have seen what they round by.
    """
    made: dict[int, nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, TrainableLayer):
            made.setdefault(id(module), _finalized_layer(module))
        elif isinstance(module, FakeQuantizerBase) and "." not in name:
            made.setdefault(id(module), QuantizeDequantize(*module.final_parameters()))
        if id(module) in made:
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, made[id(module)])
    register_version(model)
    model.eval()


@torch.no_grad()
def _finalized_layer(layer: TrainableLayer) -> nn.Module:
    """The layer with batch norm folded in and rounded weights, and its activation after it."""
    weight, bias = layer.folded_weight(), layer.folded_bias()
    quantizer = layer.weight_fake_quant
    if quantizer is None:
        plain = plain_layer(layer, weight, bias)
    else:
        plain = plain_layer(layer, quantizer.rounded(weight), bias)
        scale, zero_point = (
            _of_full_rank(each, quantizer, weight) for each in quantizer.final_parameters()
        )
        grid = quantizer.grid
        # Signed codes around zero need no zero point; those of other grids have their own dtype.
        stored = torch.int8 if grid.signed else torch.uint8
        register_quantization(plain, "weight", grid.bits, scale, zero_point.to(stored))
    return plain if layer.act is None else nn.Sequential(plain, layer.act)


def _of_full_rank(
    parameter: torch.Tensor, quantizer: FakeQuantizerBase, weight: torch.Tensor
) -> torch.Tensor:
    shape = [1] * weight.ndim
    if quantizer.channel_axis is not None:
        shape[quantizer.channel_axis] = -1
    return parameter.detach().clone().reshape(shape)


def not_finite(model: fx.GraphModule) -> list[str]:
    """Names of the fake quantizers, of weights too, that have observed NaN or infinities."""
    return [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, FakeQuantizer)
        and module.has_parameters
        and not module.activation_post_process.is_finite
    ]


def unobserved(model: fx.GraphModule) -> list[str]:
    """Names of the fake quantizers of activations that have seen no data."""
    found: list[Any] = [
        (name, module)
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, FakeQuantizerBase) and "." not in name
    ]
    return [name for name, module in found if not module.has_parameters]
