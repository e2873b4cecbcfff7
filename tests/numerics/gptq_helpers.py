"""Layers to quantize, and what is asked of the result."""

from __future__ import annotations

import torch

from coreml_assay.numerics import Grid
from coreml_assay.numerics.gptq import GPTQSpec, Hessian


def spec(bits=4, *, symmetric=True, **options) -> GPTQSpec:
    """A spec over all unsigned codes of ``bits``."""
    return GPTQSpec(Grid(bits, signed=False, symmetric=symmetric, all_codes=symmetric), **options)


def layer(rows, columns, *, samples=8, tokens=64, seed=0):
    """A weight, and calibration inputs whose columns are correlated."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) / columns**0.5
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    mixing += 0.5 * torch.eye(columns)
    inputs = torch.randn(samples, tokens, columns, generator=generator) @ mixing
    return weight, inputs


def hessian(inputs):
    """The Hessian of inputs of shape (samples, tokens, columns)."""
    gathered = Hessian(inputs.shape[-1])
    gathered.update(inputs)
    return gathered.matrix


def loss(weight, quantized, matrix) -> float:
    """tr((W - W') H (W - W')^T), in float64."""
    error = (weight - quantized).double()
    return float(((error @ matrix.double()) * error).sum())
