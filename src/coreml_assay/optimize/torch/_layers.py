"""Finding a model's layers and parameters, and the keys of a configuration that find none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import torch
from torch.nn.parameter import is_lazy

from coreml_assay.optimize.torch._metadata import CompressionType, compression_types
from coreml_assay.optimize.torch.optimization_config import OptimizationConfig


def find_layers(
    model: torch.nn.Module, types: tuple[type[torch.nn.Module], ...]
) -> dict[str, torch.nn.Module]:
    """The layers of a model by qualified name, in the order of the model.

    A module of one of the types is a layer, and nothing inside it is. The model itself may be
    one; its name is then empty. A layer that the model holds twice has two names.
    """
    layers: dict[str, torch.nn.Module] = {}

    def walk(module: torch.nn.Module, name: str) -> None:
        if isinstance(module, types):
            layers[name] = module
            return
        for child_name, child in module._modules.items():
            if child is not None:
                walk(child, qualified(name, child_name))

    walk(model, "")
    return layers


def qualified(module: str, name: str) -> str:
    """The name, seen from the root, of something in a module; the root's own name is empty."""
    return f"{module}.{name}" if module else name


@attrs.frozen(eq=False)
class Place:
    """A place where a model holds a parameter."""

    name: str  # qualified, of the parameter
    module: torch.nn.Module
    attribute: str

    @property
    def parameter(self) -> Any:
        """The parameter, or None where a parametrization computes the attribute."""
        return self.module._parameters.get(self.attribute)

    def is_weight(self) -> bool:
        """Whether the parameter has two axes or more, as what could be quantized has."""
        parameter = self.parameter
        return parameter is not None and not is_lazy(parameter) and parameter.ndim > 1

    def is_pruned(self) -> bool:
        """Whether some of the parameter was set to zero for good."""
        return CompressionType.pruning in compression_types(self.module, self.attribute)


def places_of_parameters(model: torch.nn.Module) -> dict[int, list[Place]]:
    """All places of each parameter of a model, by the parameter's id."""
    places: dict[int, list[Place]] = {}
    for module_name, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module._parameters.items():
            place = Place(qualified(module_name, name), module, name)
            places.setdefault(id(parameter), []).append(place)
    return places


def keys_without_layer(
    config: OptimizationConfig[Any],
    model: torch.nn.Module,
    layers: Mapping[str, torch.nn.Module],
) -> list[str]:
    """A sentence for each name, or name of a type, in a configuration that finds no layer."""
    classes = {type(module).__name__ for module in model.modules()}
    problems = [
        f"module_name_configs[{pattern!r}] matches the whole name of no layer that is treated"
        + _suggestion(pattern, layers)
        for pattern in config.module_name_configs
        if not any(re.fullmatch(pattern, name) for name in layers)
    ]
    problems += [
        f"module_type_configs[{key!r}] is neither a known type nor the class of any module"
        + _suggestion(key, classes)
        for key in config.module_type_configs
        if isinstance(key, str) and key not in classes
    ]
    return problems


def _suggestion(key: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(key, list(names), n=1, cutoff=0)
    return f"; the nearest is {nearest[0]!r}" if nearest else ""
