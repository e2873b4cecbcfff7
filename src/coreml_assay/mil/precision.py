"""The three arithmetics in which a program can be evaluated, and how each holds MIL's types."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt
import torch


class Precision(enum.Enum):
    """In which arithmetic floating-point tensors are held and computed.

    Integer and boolean tensors keep their types in all three. None of them is the arithmetic of
    a particular processor; the Neural Engine's, in particular, is not published.

    Attributes:
        FLOAT32: float32 on the stored constants. Tensors that the program types as fp16 are held
            in float32 and not rounded.
        FLOAT16: as FLOAT32 within an operation, and every tensor that the program types as fp16
            is rounded to it when an operation returns it: it overflows where fp16 does.
        FLOAT64: float64 throughout, to tell rounding from everything else.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    FLOAT64 = "float64"

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype that floating-point tensors are held in."""
        return torch.float64 if self is Precision.FLOAT64 else torch.float32

    @property
    def numpy_dtype(self) -> npt.DTypeLike:
        """The same as a numpy dtype."""
        return np.float64 if self is Precision.FLOAT64 else np.float32


FLOATS = frozenset({"fp16", "fp32", "fp64"})

# Each integer type is held in a torch dtype that contains its range and that torch computes in.
INTEGERS: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "int4": torch.int8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint1": torch.uint8,
    "uint2": torch.uint8,
    "uint3": torch.uint8,
    "uint4": torch.uint8,
    "uint6": torch.uint8,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "uint64": torch.int64,
}


def held_as(mil_type: str, precision: Precision) -> torch.dtype | None:
    """The torch dtype that tensors of a MIL type are held in, None for what is no tensor.

    Args:
        mil_type: the type's MIL name: ``fp16``, ``int32``, ``bool``, ``str`` ...
        precision: of the evaluation.
    """
    return precision.dtype if mil_type in FLOATS else INTEGERS.get(mil_type)


def round_to_fp16(x: torch.Tensor) -> torch.Tensor:
    """Each element rounded to its nearest fp16 number, in the tensor's own dtype."""
    return x.to(torch.float16).to(x.dtype)
