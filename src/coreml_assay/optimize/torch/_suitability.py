"""Which parameters can be quantized at all, whatever the configuration."""

from __future__ import annotations

import torch
from torch.nn.parameter import is_lazy

from coreml_assay.optimize.torch._layers import Place
from coreml_assay.optimize.torch._metadata import CompressionType, compression_types

QUANTIZABLE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def unsuitable(place: Place) -> str | None:
    """Why a weight cannot be quantized whatever the configuration, or None if it can."""
    weight = place.parameter
    if weight is None:
        return (
            f"{place.attribute} is computed, not a parameter of the layer; remove its "
            "parametrization first (torch.nn.utils.parametrize.remove_parametrizations, or the "
            "like)"
        )
    if is_lazy(weight):
        return "it has no shape yet; run the model once"
    if weight.is_meta:
        return "it is on the meta device, without values"
    if weight.layout is not torch.strided or weight.dtype not in QUANTIZABLE_DTYPES:
        accepted = ", ".join(map(str, QUANTIZABLE_DTYPES))
        return f"it is {weight.layout} and {weight.dtype}; accepted are dense {accepted}"
    if not place.is_weight():
        return f"its shape {tuple(weight.shape)} has fewer than two axes"
    done = compression_types(place.module, place.attribute)
    if any(kind != CompressionType.pruning for kind in done):
        return (
            f"it is compressed already ({', '.join(CompressionType(kind).name for kind in done)})"
        )
    return None
