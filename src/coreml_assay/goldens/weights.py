"""The golden cases of weight quantization, of Core ML and of PyTorch models."""

from __future__ import annotations

from typing import Any

import msgspec

from coreml_assay.numerics import Grid


class ArrayCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One array quantized; the arrays are ``<name>.weight``, ``.codes`` and so on."""

    name: str
    bits: int
    signed: bool
    symmetric: bool
    block_shape: tuple[int, ...]

    @property
    def grid(self) -> Grid:
        """The grid it was quantized to."""
        return Grid(self.bits, self.signed, self.symmetric)


class ProgramCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sample program quantized: how to make it again, and the description of the result."""

    name: str
    weights: tuple[tuple[str, str, str], ...]  # name, array, consumer
    target: str
    options: dict[str, Any]
    description: tuple[str, ...]


class ModelCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One shipped model quantized with one configuration."""

    model: str
    configuration: str
    description: tuple[str, ...]


class TorchCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One PyTorch layer quantized; the results are ``<name>.<parameter>.codes`` and so on."""

    name: str
    layer: str  # one of implementations.torch_models.LAYERS
    weights: dict[str, str]  # parameter, array
    options: dict[str, Any]


class WeightCases(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All cases of the area."""

    arrays: tuple[ArrayCase, ...]
    programs: tuple[ProgramCase, ...]
    models: tuple[ModelCase, ...]
    torch: tuple[TorchCase, ...] = ()
