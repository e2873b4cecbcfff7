"""What an implementation under test has to offer: a name, a version, and one face or more.

The *tensor* face is one function over arrays, easy to provide from anywhere. The *Core ML* and
*torch* faces are the two parts of a namespace shaped like ``coremltools.optimize``, for drop-ins.
Checks that need a face which is not there end as "unsupported", which is no failure.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import attrs

from coreml_assay.numerics import BlockShape, Grid, QuantizedWeight
from coreml_assay.numerics.blocks import Array


class Unsupported(Exception):  # noqa: N818 - not an error: an answer
    """Raised by an implementation for what it does not offer; the message says what."""


@attrs.frozen
class WeightSpec:
    """How a weight is to be quantized.

    Attributes:
        grid: the codes.
        block_shape: block size for each axis of the weight, 0 for the whole axis.
    """

    grid: Grid
    block_shape: BlockShape


@attrs.frozen
class CalibratedWeightSpec(WeightSpec):
    """How a weight of shape (rows, columns) is to be quantized under calibration inputs.

    Attributes:
        grid: the codes; checks ask for unsigned ones, all of them (``all_codes``).
        block_shape: (1, 0) for a scale for each row, (1, size) for blocks of columns.
        activation_order: round the columns with the largest inputs first, all blocks having the
            scales of the original weights; otherwise from first to last, a block having the scale
            of its weights as they are once all columns before it have been made good.
        processing_group_size: how many columns are made good one by one before the others are.
        hessian_dampening: what is added to the Hessian's diagonal, as a share of its mean.
    """

    activation_order: bool = False
    processing_group_size: int = 128
    hessian_dampening: float = 0.01


@runtime_checkable
class Implementation(Protocol):
    """The least an implementation has: who it is. The faces are optional attributes.

    One whose work is done in another process says so by an attribute ``runs_elsewhere`` that is
    true; the memory of this process is then not taken for its own.
    """

    name: str
    version: str


@runtime_checkable
class TensorFace(Protocol):
    """Quantizes arrays."""

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight.

        Args:
            weight: float16 or float32, of any rank from 1 on; must not be changed.
            spec: the grid and the blocks.

        Returns:
            (codes, scale, zero point), a plain tuple will do: codes of the weight's shape in the
            grid's dtype; scale in the weight's dtype, its shape the number of blocks along each
            axis; zero point like the scale in the codes' dtype, or None where the grid stores
            none.

        Raises:
            Unsupported: the implementation does not offer this grid or these blocks.
            ValueError: the weight cannot be quantized (NaN, infinities, blocks that do not fit).
        """
        ...


@runtime_checkable
class CalibratedTensorFace(TensorFace, Protocol):
    """A tensor face that also quantizes under calibration inputs."""

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a layer's weight by GPTQ, so that its outputs on given inputs change little.

        Args:
            weight: float32, shape (rows, columns); must not be changed.
            inputs: batches of the layer's inputs, each float32 of shape (tokens, columns); must
                not be changed. The Hessian is a multiple of the sum of x x^T over all tokens x.
            spec: the grid, the blocks, and how.

        Returns:
            As `TensorFace.quantize_weight`; the scale is float32.

        Raises:
            Unsupported: the implementation does not offer this grid or these blocks.
            ValueError: the weight cannot be quantized (NaN, infinities, blocks that do not fit).

        Source: arXiv 2210.17323.
        """
        ...


class Face(enum.Enum):
    """The ways an implementation can be used."""

    TENSOR = "tensor"
    COREML = "coreml"  # optimize.coreml, shaped like coremltools.optimize.coreml
    TORCH = "torch"  # optimize.torch, shaped like coremltools.optimize.torch


def faces(implementation: Implementation) -> frozenset[Face]:
    """The faces an implementation has."""
    found = set()
    if isinstance(implementation, TensorFace):
        found.add(Face.TENSOR)
    optimize: Any = getattr(implementation, "optimize", None)
    found.update(face for face in (Face.COREML, Face.TORCH) if _has(optimize, face.value))
    return frozenset(found)


def _has(optimize: Any, part: str) -> bool:
    """Whether a namespace has a part; one that cannot be imported, for want of torch, is absent."""
    try:
        getattr(optimize, part)
    except (AttributeError, ImportError):
        return False
    return True


def predicting(implementation: Implementation) -> AbstractContextManager[None]:
    """A block in which an implementation may run models, as calibration does, on any machine.

    One that needs help to do so has a method ``predicting`` that returns such a block; for one
    without, nothing is done.
    """
    own: Any = getattr(implementation, "predicting", nullcontext)
    block: AbstractContextManager[None] = own()
    return block
