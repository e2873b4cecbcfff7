"""Layers as they are trained: the weight fake-quantized, batch norm and activation joined in.

A trainable layer is a subclass of the layer that it replaces and has the same parameters, the very
same objects, so that optimizers and state dicts go on working.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from coreml_assay.numerics.fake_quantize import FakeQuantizerBase


class TrainableLayer(nn.Module):
    """What all trainable layers have in common.

    Attributes:
        weight_fake_quant: of the weight, None where it stays floating point.
        bn: the batch norm that follows, or None.
        act: the activation that follows, or None.
    """

    plain_type: type[nn.Module]
    weight_fake_quant: FakeQuantizerBase | None
    bn: nn.Module | None
    act: nn.Module | None

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *others: Any, **named: Any
    ) -> None:
        # coremltools has the layer of a layer with an activation in a module of its own.
        for inner in (f"{prefix}conv.", f"{prefix}linear."):
            for key in [key for key in state_dict if key.startswith(inner)]:
                state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *others, **named)

    def compute(self, x: torch.Tensor, weight: torch.Tensor, bias: Any, *args: Any) -> torch.Tensor:
        """The layer's output with another weight and bias."""
        raise NotImplementedError

    @property
    def channel_axis(self) -> int:
        """The weight's axis of output channels."""
        return 0

    def forward(self, x: torch.Tensor, *args: Any) -> torch.Tensor:
        """The output of layer, batch norm and activation."""
        if self.bn is None:
            y = self.compute(x, self._simulated(self.weight), self.bias, *args)
        else:
            y = self._normalized(x)
        return y if self.act is None else self.act(y)

    def _simulated(self, weight: torch.Tensor) -> torch.Tensor:
        return weight if self.weight_fake_quant is None else self.weight_fake_quant(weight)

    def _normalized(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve by the folded weight, as inference will, then normalize by the batch.

        Source: arXiv 1806.08342, section 3.2.2, with the batch's statistics undone by division.
        """
        quantizer = self.weight_fake_quant
        if quantizer is None:
            return self.bn(self.compute(x, self.weight, self.bias))  # type: ignore[misc]
        bn: Any = self.bn
        if quantizer.observer_enabled[0]:
            # By another formula than what is rounded, as in coremltools; the last bit differs.
            observed = _without_zeros(bn.weight / torch.sqrt(bn.running_var + bn.eps))
            quantizer.observe(self.weight * self._along_weight(observed))
        if quantizer.fake_quant_enabled[0]:
            divisor = _without_zeros(bn.weight * torch.rsqrt(bn.running_var + bn.eps))
            weight = quantizer.simulate(self.weight * self._along_weight(divisor))
            y = self.compute(x, weight, None)
            y = y / self._along_output(divisor, y)
            if self.bias is not None:
                y = y + self._along_output(self.bias, y)
        else:
            y = self.compute(x, self.weight, self.bias)
        return bn(y)

    def _along_weight(self, channels: torch.Tensor) -> torch.Tensor:
        shape = [1] * self.weight.ndim
        shape[self.channel_axis] = -1
        return channels.reshape(shape)

    def _along_output(self, channels: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        after = 0 if isinstance(self, nn.Linear) else self.weight.ndim - 2
        return channels.reshape([-1, *[1] * after])

    def _folded_factor(self) -> torch.Tensor:
        bn: Any = self.bn
        factor: torch.Tensor = (bn.weight * torch.rsqrt(bn.running_var + bn.eps)).detach()
        return factor

    def folded_weight(self) -> torch.Tensor:
        """The weight with batch norm in it, before it is rounded."""
        weight: torch.Tensor = self.weight.detach()
        return weight if self.bn is None else weight * self._along_weight(self._folded_factor())

    def folded_bias(self) -> torch.Tensor | None:
        """The bias with batch norm in it."""
        bias: torch.Tensor | None = None if self.bias is None else self.bias.detach()
        if self.bn is None:
            return bias
        bn: Any = self.bn
        centred = (0 if bias is None else bias) - bn.running_mean
        folded: torch.Tensor = (centred * self._folded_factor() + bn.bias).detach()
        return folded


def _without_zeros(factor: torch.Tensor) -> torch.Tensor:
    """One for each zero: a channel multiplied by zero is computed as if multiplied by one."""
    return torch.where(factor == 0, torch.ones_like(factor), factor)


class _Conv(TrainableLayer):
    def compute(self, x: torch.Tensor, weight: torch.Tensor, bias: Any, *args: Any) -> torch.Tensor:
        output: torch.Tensor = self._conv_forward(x, weight, bias)
        return output


class TrainableConv1d(_Conv, nn.Conv1d):
    plain_type = nn.Conv1d


class TrainableConv2d(_Conv, nn.Conv2d):
    plain_type = nn.Conv2d


class TrainableConv3d(_Conv, nn.Conv3d):
    plain_type = nn.Conv3d


class TrainableLinear(TrainableLayer, nn.Linear):
    plain_type = nn.Linear

    def compute(self, x: torch.Tensor, weight: torch.Tensor, bias: Any, *args: Any) -> torch.Tensor:
        return F.linear(x, weight, bias)


class _ConvTranspose(TrainableLayer):
    _function: Any

    @property
    def channel_axis(self) -> int:
        return 1

    def compute(self, x: torch.Tensor, weight: torch.Tensor, bias: Any, *args: Any) -> torch.Tensor:
        output_size = args[0] if args else None
        padding = self._output_padding(
            x,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            self.weight.ndim - 2,
            self.dilation,
        )
        function = type(self)._function
        output: torch.Tensor = function(
            x, weight, bias, self.stride, self.padding, padding, self.groups, self.dilation
        )
        return output


class TrainableConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    plain_type = nn.ConvTranspose1d
    _function = staticmethod(F.conv_transpose1d)


class TrainableConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    plain_type = nn.ConvTranspose2d
    _function = staticmethod(F.conv_transpose2d)


class TrainableConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    plain_type = nn.ConvTranspose3d
    _function = staticmethod(F.conv_transpose3d)


class TrainableEmbedding(TrainableLayer, nn.Embedding):
    plain_type = nn.Embedding
    bias = None

    def compute(self, x: torch.Tensor, weight: torch.Tensor, bias: Any, *args: Any) -> torch.Tensor:
        return F.embedding(
            x,
            weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


TRAINABLE: dict[type[nn.Module], type[TrainableLayer]] = {
    each.plain_type: each
    for each in (
        TrainableConv1d,
        TrainableConv2d,
        TrainableConv3d,
        TrainableLinear,
        TrainableConvTranspose1d,
        TrainableConvTranspose2d,
        TrainableConvTranspose3d,
        TrainableEmbedding,
    )
}
"""A layer's exact class -> the class that it is trained as."""


def make_trainable(
    layer: nn.Module,
    bn: nn.Module | None,
    act: nn.Module | None,
    weight_fake_quant: FakeQuantizerBase | None,
) -> Any:
    """A trainable layer with the parameters of a layer, and what follows the layer joined in.

    Args:
        layer: of one of the classes in `TRAINABLE`. It is not changed.
        bn: the batch norm after it, or None.
        act: the activation after that, or None.
        weight_fake_quant: for the weight, or None.
    """
    made: Any = _shallow_copy(layer, TRAINABLE[type(layer)])
    made.bn, made.act, made.weight_fake_quant = bn, act, weight_fake_quant
    return made


def plain_layer(layer: TrainableLayer, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    """A layer of the class that a trainable one stands for, with these parameters."""
    plain: Any = _shallow_copy(layer, layer.plain_type)
    for name in ("bn", "act", "weight_fake_quant"):
        plain._modules.pop(name, None)
        plain.__dict__.pop(name, None)
    plain.weight = nn.Parameter(weight)
    if not isinstance(plain, nn.Embedding):
        plain.bias = None if bias is None else nn.Parameter(bias)
    return plain


def _shallow_copy(layer: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A module of another class with the same parameters, in dictionaries of its own."""
    made = nn.Module.__new__(kind)
    made.__dict__ = {
        name: copy.copy(value) if isinstance(value, dict) else value
        for name, value in layer.__dict__.items()
    }
    return made
