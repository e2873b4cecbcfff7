"""The buffers through which a compressed parameter tells the converter how it was compressed.

They are named ``_COREML_/<parameter>/<field>`` and live on the module that owns the parameter.
Source: coremltools 9.0, whose converter reads them.
"""

from __future__ import annotations

from enum import IntEnum

import torch

_PREFIX = "_COREML_"


class CompressionType(IntEnum):
    """What was done to a parameter, as numbered in the buffer ``compression_type``."""

    pruning = 1
    palettization = 2
    quantization = 3


def compression_types(module: torch.nn.Module, parameter: str) -> list[int]:
    """What was done to a parameter so far, in order; empty for one that nobody compressed."""
    buffer = module._buffers.get(_name(parameter, "compression_type"))
    return [] if buffer is None else list(buffer.tolist())


def register_quantization(
    module: torch.nn.Module,
    parameter: str,
    n_bits: int,
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
) -> None:
    """Record that a parameter holds dequantized codes.

    Args:
        module: the module that owns the parameter.
        parameter: its name in the module.
        n_bits: width of a code.
        scale: the parameter's dtype and rank, the number of blocks along each axis as shape.
        zero_point: int8 or uint8 of the scale's shape, or None where it is 0 throughout.
    """
    types = [*compression_types(module, parameter), CompressionType.quantization]
    fields = {
        "quantization_n_bits": torch.tensor(n_bits, device=scale.device),
        "quantization_scale": scale,
        "zero_point": zero_point,
        "compression_type": torch.tensor(types, device=scale.device),
    }
    for field, value in fields.items():
        if value is not None:
            module.register_buffer(_name(parameter, field), value)


def register_palettization(
    module: torch.nn.Module, parameter: str, lut: torch.Tensor, scale: torch.Tensor
) -> None:
    """Record that a parameter holds scaled entries of a look-up table.

    Args:
        module: the module that owns the parameter.
        parameter: its name in the module.
        lut: shape (1, ..., 1, entries, 1), of two axes more than the parameter.
        scale: the parameter's rank, the number of blocks along each axis as shape.
    """
    types = [*compression_types(module, parameter), CompressionType.palettization]
    module.register_buffer(_name(parameter, "lut"), lut)
    module.register_buffer(_name(parameter, "palettization_scale"), scale)
    module.register_buffer(
        _name(parameter, "compression_type"), torch.tensor(types, device=scale.device)
    )


def copy_metadata(
    source: torch.nn.Module, parameter: str, target: torch.nn.Module, name: str
) -> None:
    """Record for a parameter, under another name or in another module, what is recorded of it."""
    prefix = _name(parameter, "")
    for key, buffer in list(source._buffers.items()):
        if key.startswith(prefix):
            target.register_buffer(_name(name, key.removeprefix(prefix)), buffer)


def register_version(model: torch.nn.Module) -> None:
    """Record, on the root of a model, the version of the metadata inside it."""
    model.register_buffer(f"{_PREFIX}/metadata_version", torch.tensor(1))


def _name(parameter: str, field: str) -> str:
    return f"{_PREFIX}/{parameter}/{field}"
