"""The golden cases of LinearQuantizer: small models calibrated, finalized and converted."""

from __future__ import annotations

from typing import Any

import msgspec

from coreml_assay.implementations.trainable_model import TrainableModel


class CalibratedCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model of implementations.trainable_models: how to make it again, and what came of it.

    The arrays are ``<name>/<fake quantizer>.scale`` and ``.zero_point`` for activations,
    ``<name>/<layer>.codes``, ``.scale`` and ``.zero_point`` for weights, and
    ``<name>/program.scales`` for the scales of the program's quantize operations, in order.

    Attributes:
        name: of the model.
        source, inputs, config, tokens, target: the model, as `TrainableModel` has them.
        placement: the prepared model's graph, a line a node.
        quantizers: the names of the fake quantizers of activations.
        shared: those of them that are one module, by their names.
        layers: quantized layer to the width of its codes.
        program: the converted program's structure, empty if it does not convert.
        refusal: why it does not convert.
    """

    name: str
    source: str
    inputs: tuple[tuple[int, ...], ...]
    config: dict[str, Any]
    tokens: int
    target: str
    placement: tuple[str, ...]
    quantizers: tuple[str, ...]
    shared: tuple[tuple[str, ...], ...]
    layers: dict[str, int]
    program: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def model(self) -> TrainableModel:
        """The model it was made from."""
        return TrainableModel(self.source, self.inputs, self.config, self.tokens, self.target)


class LinearQuantizerCases(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All cases of the area."""

    calibrated: tuple[CalibratedCase, ...]
