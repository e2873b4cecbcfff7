"""The golden cases of GPTQ: matrices quantized under calibration inputs."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from coreml_assay.implementations import CalibratedWeightSpec
from coreml_assay.numerics import Grid
from coreml_assay.numerics.blocks import Array


class GPTQCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One matrix quantized; the results are ``<name>.codes``, ``.scale`` and ``.zero_point``.

    Attributes:
        name: of the case.
        weight: the array it is about, shape (rows, columns).
        inputs: the array of its inputs, float16, shape (batches, tokens, columns).
        bits, symmetric, block_size, activation_order, processing_group_size: the spec.
    """

    name: str
    weight: str
    inputs: str
    bits: int
    symmetric: bool
    block_size: int
    activation_order: bool
    processing_group_size: int

    @property
    def spec(self) -> CalibratedWeightSpec:
        """How it was quantized."""
        return CalibratedWeightSpec(
            Grid(self.bits, signed=False, symmetric=self.symmetric, all_codes=self.symmetric),
            (1, self.block_size),
            activation_order=self.activation_order,
            processing_group_size=self.processing_group_size,
        )


class GPTQCases(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All cases of the area.

    Attributes:
        clear: rows that stay clear of near-ties, so that all codes are determined.
        ordinary: rows as they come.
        saturating: rows without a negative weight, which coremltools 9.0 saturates.
    """

    clear: tuple[GPTQCase, ...]
    ordinary: tuple[GPTQCase, ...]
    saturating: tuple[GPTQCase, ...]


def arguments_of(case: GPTQCase, arrays: dict[str, Array]) -> tuple[Array, list[Array], Any]:
    """What `CalibratedTensorFace.gptq` is called with."""
    return arrays[case.weight], list(arrays[case.inputs].astype(np.float32)), case.spec
