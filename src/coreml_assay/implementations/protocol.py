"""What an implementation under test has to offer: a name, a version, and one face or more.

The *tensor* face is one function over arrays, easy to provide from anywhere. The *Core ML* and
*torch* faces are the two parts of a namespace shaped like ``coremltools.optimize``, for drop-ins.
Checks that need a face which is not there end as "unsupported", which is no failure.
"""

from __future__ import annotations

import enum
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


@runtime_checkable
class Implementation(Protocol):
    """The least an implementation has: who it is. The faces are optional attributes."""

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
