"""Checking what a program is given against what it takes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from coremltools.converters.mil.mil import Var, types

from coreml_assay.mil.precision import FLOATS, Precision, held_as, round_to_fp16

_KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floating-point numbers"}


@attrs.frozen
class InputType:
    """What a function takes for one of its inputs.

    Attributes:
        name: of the input.
        shape: lengths, None where any length will do.
        mil_type: MIL's name for the element type.
    """

    name: str
    shape: tuple[int | None, ...]
    mil_type: str

    @classmethod
    def of(cls, var: Var) -> InputType:
        """The type of a function's input."""
        element = var.sym_type.wrapped_type() if types.is_state(var.sym_type) else var.sym_type
        lengths = element.get_shape() if types.is_tensor(element) else ()
        shape = tuple(int(n) if isinstance(n, int | np.integer) else None for n in lengths)
        return cls(var.name, shape, types.builtin_to_string(var.dtype))

    def tensor(self, value: npt.ArrayLike, precision: Precision) -> torch.Tensor:
        """The value as a tensor in the dtype that the precision holds this type in.

        Raises:
            ValueError: the value has another shape, elements of another kind, or integers
                that the type does not hold.
        """
        array = np.asarray(value)
        kind = _KINDS.get(array.dtype.kind, str(array.dtype))
        if kind != self._kind():
            raise ValueError(
                f"input {self.name!r} takes {self._kind()} ({self.mil_type}), got {array.dtype}"
            )
        if len(array.shape) != len(self.shape) or any(
            wanted is not None and wanted != length
            for wanted, length in zip(self.shape, array.shape, strict=True)
        ):
            wanted = ", ".join("?" if n is None else str(n) for n in self.shape)
            raise ValueError(f"input {self.name!r} has shape ({wanted}), got {tuple(array.shape)}")
        if self._kind() == _KINDS["i"] and array.size:
            limits = np.iinfo(self.mil_type)
            if array.min() < limits.min or array.max() > limits.max:
                raise ValueError(f"input {self.name!r} has values beyond {self.mil_type}")
        # A copy in a dtype that torch surely knows: numpy has wider ones.
        wide = {"f": precision.numpy_dtype, "b": np.bool_}.get(array.dtype.kind, np.int64)
        tensor = torch.from_numpy(np.array(array, wide)).to(held_as(self.mil_type, precision))
        if self.mil_type == "fp16" and precision is Precision.FLOAT16:
            return round_to_fp16(tensor)
        return tensor

    def zeros(self, precision: Precision) -> torch.Tensor:
        """A tensor of zeros of this type.

        Raises:
            ValueError: a length is left open.
        """
        shape = [length for length in self.shape if length is not None]
        if len(shape) < len(self.shape):
            raise ValueError(f"state {self.name!r} has no fixed shape")
        return torch.zeros(shape, dtype=held_as(self.mil_type, precision))

    def _kind(self) -> str:
        if self.mil_type in FLOATS:
            return _KINDS["f"]
        return _KINDS["b" if self.mil_type == "bool" else "i"]


def check_names(given: Collection[str], known: Collection[str], what: str) -> None:
    """Refuse names that are not known, suggesting the nearest one that is.

    Args:
        given: names to be checked.
        known: names there are.
        what: the names are of, in singular, for the message.

    Raises:
        ValueError: a name is not known.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {_listed(known)}"
            raise ValueError(f"no {what} is named {name!r}; {hint}")


def check_inputs(given: Mapping[str, Any], wanted: Mapping[str, InputType]) -> None:
    """Refuse unknown and missing inputs.

    Raises:
        ValueError: an input is unknown or missing.
    """
    check_names(given, wanted, "input")
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ValueError(f"missing input {_listed(missing)}")


def _listed(names: Collection[str]) -> str:
    """The first few names, quoted."""
    shown = ", ".join(repr(name) for name in list(names)[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown or "none"
