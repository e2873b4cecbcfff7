"""What every PyTorch optimizer has in common: a model, a configuration, and a report."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import UserDict
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from coreml_assay.optimize.torch.optimization_config import OptimizationConfig


class Report(UserDict[str, dict[str, Any]]):
    """What was done to each parameter, printable as a table.

    A mapping from a parameter's name to its columns.

    Attributes:
        skipped: name of each parameter that was left as it was -> the reason.
    """

    def __init__(
        self,
        entries: Mapping[str, dict[str, Any]] | None = None,
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(entries or {})
        self.skipped = dict(skipped or {})

    def __repr__(self) -> str:
        lines = _table(self.data) if self.data else []
        if self.skipped:
            lines.append("left as they were:")
            lines += [f"  {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def _table(entries: Mapping[str, dict[str, Any]]) -> list[str]:
    """The lines of a right-aligned table, one row for each entry; -1 where a column is absent."""
    columns = list(dict.fromkeys(column for entry in entries.values() for column in entry))
    rows = [["name", *columns]]
    rows += [
        [name, *(_cell(entry.get(column, -1)) for column in columns)]
        for name, entry in entries.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return [
        " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _cell(value: object) -> str:
    return f"{value:.5f}" if isinstance(value, float) else str(value)


class BaseModelOptimizer(ABC):
    """An optimizer of a model.

    Args:
        model: the model to be optimized.
        config: which of its layers are to be optimized, and how.

    Raises:
        TypeError: the model is not a torch.nn.Module, or the configuration another optimizer's.
    """

    _supported_modules: ClassVar[tuple[type[torch.nn.Module], ...]]
    _config_class: ClassVar[type[OptimizationConfig[Any]]]

    def __init__(self, model: torch.nn.Module, config: OptimizationConfig[Any]) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if not isinstance(config, self._config_class):
            raise TypeError(
                f"config must be a {self._config_class.__name__}, got {type(config).__name__}"
            )
        self._model = model
        self._config = config

    @property
    def supported_modules(self) -> tuple[type[torch.nn.Module], ...]:
        """The layer classes that this optimizer treats."""
        return self._supported_modules

    @abstractmethod
    def report(self) -> Report:
        """What was done to each parameter."""

    def _model_to_change(self, inplace: bool) -> Any:
        """The model itself, or a deep copy."""
        return self._model if inplace else copy.deepcopy(self._model)
