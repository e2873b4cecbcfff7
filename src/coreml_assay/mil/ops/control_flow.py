"""Branches, loops, lists and states.

Source: ``control_flow`` of iOS15, ``states`` of iOS18, the ``coreml`` dialect.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch

from coreml_assay.mil.ops._arguments import Operation, ints
from coreml_assay.mil.precision import INTEGERS

Block = Callable[..., tuple[torch.Tensor, ...]]


@attrs.frozen(eq=False)
class TensorList:
    """A list of tensors of one shape; writing to it makes another one.

    Attributes:
        elements: those not written yet are zeros, or None where their shape is not known.
        grows: whether writing past the end makes the list longer, and is no error.
    """

    elements: tuple[torch.Tensor | None, ...]
    grows: bool


class StateCell:
    """The place that a state is kept in between reading and writing.

    Attributes:
        value: the state's present content.
    """

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value


def cond(*, pred: torch.Tensor, blocks: tuple[Block, ...]) -> tuple[torch.Tensor, ...]:
    """What the first block returns if pred is true, else what the second does."""
    return blocks[0]() if bool(pred) else blocks[1]()


def while_loop(
    *, loop_vars: tuple[torch.Tensor, ...], blocks: tuple[Block, ...]
) -> tuple[torch.Tensor, ...]:
    """The variables after running the second block on them while the first returns true."""
    condition, body = blocks
    while bool(condition(*loop_vars)[0]):
        loop_vars = body(*loop_vars)
    return loop_vars


def select(*, cond: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Elements of a where the condition is true, of b elsewhere, broadcast."""
    return torch.where(cond, a, b)


def make_list(
    *,
    elem_shape: tuple[torch.Tensor | str, ...],
    init_length: int | torch.Tensor = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
) -> TensorList:
    """A list of init_length elements, which can get longer only if dynamic_length is true."""
    (length,) = ints(init_length)
    if any(isinstance(size, str) for size in elem_shape):
        return TensorList((None,) * length, dynamic_length)
    zeros = torch.zeros([int(size) for size in elem_shape], dtype=INTEGERS.get(dtype))
    return TensorList((zeros,) * length, dynamic_length)


def list_length(*, ls: TensorList) -> torch.Tensor:
    """The number of elements."""
    return torch.tensor(len(ls.elements), dtype=torch.int32)


def list_write(*, ls: TensorList, index: torch.Tensor, value: torch.Tensor) -> TensorList:
    """The list with the value at the index."""
    (position,) = ints(index)
    return _written(ls, {position: value})


def list_scatter(*, ls: TensorList, indices: torch.Tensor, value: torch.Tensor) -> TensorList:
    """The list with value[i] at indices[i]."""
    return _written(ls, dict(zip(ints(indices), value, strict=True)))


def _written(ls: TensorList, updates: dict[int, torch.Tensor]) -> TensorList:
    """The list with the updates, as long as the furthest of them needs."""
    elements = list(ls.elements)
    beyond = max(updates, default=-1) + 1 - len(elements)
    if any(index < 0 for index in updates):
        raise ValueError(f"list index {min(updates)} is negative")
    if beyond > 0 and not ls.grows:
        raise ValueError(f"list index {max(updates)} is past the fixed length {len(elements)}")
    for index, value in updates.items():
        elements += [torch.zeros_like(value)] * (index + 1 - len(elements))
        elements[index] = value
    return TensorList(tuple(elements), ls.grows)


def list_read(*, ls: TensorList, index: torch.Tensor) -> torch.Tensor:
    """The element at the index."""
    return list_gather(ls=ls, indices=index.reshape(1))[0]


def list_gather(*, ls: TensorList, indices: torch.Tensor) -> torch.Tensor:
    """The elements at the indices, along a new first axis."""
    found = []
    for index in ints(indices):
        if not 0 <= index < len(ls.elements):
            raise ValueError(f"list index {index} is out of range for length {len(ls.elements)}")
        element = ls.elements[index]
        if element is None:
            raise ValueError(f"list element {index} was never written and its shape is unknown")
        found.append(element)
    return torch.stack(found)


def read_state(*, input: StateCell) -> torch.Tensor:
    """The state's content."""
    return input.value


def coreml_update_state(*, state: StateCell, value: torch.Tensor) -> torch.Tensor:
    """The value, which from now on is the state's content."""
    state.value = value
    return value


CONTROL_FLOW: dict[str, Operation] = {
    "cond": cond,
    "coreml_update_state": coreml_update_state,
    "list_gather": list_gather,
    "list_length": list_length,
    "list_read": list_read,
    "list_scatter": list_scatter,
    "list_write": list_write,
    "make_list": make_list,
    "read_state": read_state,
    "select": select,
    "while_loop": while_loop,
}
