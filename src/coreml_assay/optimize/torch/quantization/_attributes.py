"""Attributes of a model that outlive tracing, which keeps modules and parameters alone."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

from torch import fx, nn


def keep_attributes(names: Sequence[str], source: nn.Module, target: Any) -> None:
    """Give a traced model attributes of what it was made of; its copies keep them, too.

    Args:
        names: of methods, properties, tensors or plain values.
        source: has them.
        target: a graph module, whose class is its own.

    Raises:
        ValueError: the source has no attribute of a name.
    """
    for name in names:
        if not hasattr(source, name):
            raise ValueError(f"preserved_attributes: the model has no attribute {name!r}")
        described = getattr(type(source), name, None)
        if isinstance(described, property):
            setattr(type(target), name, described)
        elif isinstance(found := getattr(source, name), types.MethodType):
            setattr(target, name, types.MethodType(found.__func__, target))
        elif name not in target.__dict__.get("_modules", {}):
            setattr(target, name, found)

    def deep_copied(self: Any, memo: Any) -> Any:
        copied = fx.GraphModule.__deepcopy__(self, memo)
        keep_attributes(names, self, copied)
        return copied

    if names:
        type(target).__deepcopy__ = deep_copied
