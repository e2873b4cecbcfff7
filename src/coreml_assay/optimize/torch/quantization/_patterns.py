"""What a traced model's nodes are to quantization: tables that can be read and extended.

Source: coremltools 9.0, whose placement these tables reproduce.
"""

from __future__ import annotations

import operator
from enum import Enum, auto
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812 - its usual name


class Role(Enum):
    """What a node means for the fake quantizers around it."""

    COMPUTES = auto()  # takes quantized inputs, gives an output with a quantizer of its own
    PASSES = auto()  # gives out values of its input: both share one quantizer
    JOINS = auto()  # concatenation: inputs and output share one quantizer
    DROPS = auto()  # dropout: takes a quantized input, and is not there in inference
    OTHER = auto()  # takes and gives what it is given


NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
    nn.Linear: nn.BatchNorm1d,
    nn.ConvTranspose1d: nn.BatchNorm1d,
    nn.ConvTranspose2d: nn.BatchNorm2d,
    nn.ConvTranspose3d: nn.BatchNorm3d,
}
"""A layer's class -> the batch norm that is folded into it."""

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Hardsigmoid,
    nn.SiLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GLU,
    nn.Mish,
    nn.GELU,
    nn.Tanh,
    nn.Hardtanh,
    nn.Softmax,
    nn.LogSoftmax,
    nn.Hardswish,
)
"""Activations that are joined to the layer before them."""

RELU_FUNCTIONS = (F.relu, F.relu_)
"""Functions that are joined to the layer or the arithmetic before them, as nn.ReLU is."""

ADDITIONS = (operator.add, operator.iadd, torch.add)
PRODUCTS = (operator.mul, operator.imul, torch.mul)
ARITHMETIC = (*ADDITIONS, *PRODUCTS, operator.matmul, torch.matmul, torch.bmm, torch.einsum)
"""Functions whose output is quantized after the activation that may follow."""

_FUNCTIONS: dict[Any, Role] = {
    **dict.fromkeys(ARITHMETIC, Role.COMPUTES),
    **dict.fromkeys(
        (
            operator.sub,
            torch.sub,
            F.linear,
            F.conv1d,
            F.conv2d,
            F.conv3d,
            F.relu,
            F.relu_,
            torch.relu,
            F.relu6,
            F.leaky_relu,
            F.hardswish,
            F.hardtanh,
            F.elu,
            F.gelu,
            F.silu,
            F.mish,
            F.layer_norm,
            F.group_norm,
            F.instance_norm,
            torch.sigmoid,
            torch.tanh,
            F.hardsigmoid,
        ),
        Role.COMPUTES,
    ),
    **dict.fromkeys(
        (
            F.max_pool1d,
            F.max_pool2d,
            F.max_pool3d,
            F.avg_pool1d,
            F.avg_pool2d,
            F.avg_pool3d,
            F.adaptive_avg_pool1d,
            F.adaptive_avg_pool2d,
            F.adaptive_avg_pool3d,
            torch.flatten,
            torch.mean,
        ),
        Role.PASSES,
    ),
    torch.cat: Role.JOINS,
    F.dropout: Role.DROPS,
}

_MODULES: dict[type[nn.Module], Role] = {
    **dict.fromkeys(ACTIVATIONS, Role.COMPUTES),
    **dict.fromkeys(
        (
            nn.BatchNorm1d,
            nn.BatchNorm2d,
            nn.BatchNorm3d,
            nn.LayerNorm,
            nn.GroupNorm,
            nn.InstanceNorm1d,
            nn.InstanceNorm2d,
            nn.InstanceNorm3d,
        ),
        Role.COMPUTES,
    ),
    **dict.fromkeys(
        (
            nn.MaxPool1d,
            nn.MaxPool2d,
            nn.MaxPool3d,
            nn.AvgPool1d,
            nn.AvgPool2d,
            nn.AvgPool3d,
            nn.AdaptiveAvgPool1d,
            nn.AdaptiveAvgPool2d,
            nn.AdaptiveAvgPool3d,
            nn.Flatten,
            nn.Identity,
        ),
        Role.PASSES,
    ),
    nn.Dropout: Role.DROPS,
}

_KNOWN_RANGES: dict[Any, tuple[float, int]] = {
    **dict.fromkeys((nn.Sigmoid, nn.Hardsigmoid, nn.Softmax), (1 / 256, 0)),
    nn.Tanh: (2 / 256, 128),
}

_NON_NEGATIVE = (nn.ReLU, nn.ReLU6, *RELU_FUNCTIONS)


def kind_of(node: fx.Node, modules: dict[str, nn.Module]) -> Any:
    """What a node calls: a module's class or a function; None for anything else."""
    if node.op == "call_module":
        return type(modules[str(node.target)])
    return node.target if node.op == "call_function" else None


def role_of(kind: Any) -> Role:
    """The role of a call of a module's class or of a function."""
    return _MODULES.get(kind) or _FUNCTIONS.get(kind) or Role.OTHER


def known_range(kind: Any) -> tuple[float, int] | None:
    """Scale and zero point of an output whose range is known beforehand."""
    return _KNOWN_RANGES.get(kind)


def is_non_negative(kind: Any) -> bool:
    """Whether all codes of an output are spent on numbers from zero on."""
    return kind in _NON_NEGATIVE
