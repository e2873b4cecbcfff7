"""The configuration of LinearQuantizer."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, ClassVar

import attrs
import torch

from coreml_assay.optimize.torch.optimization_config import (
    ModuleOptimizationConfig,
    OptimizationConfig,
)
from coreml_assay.optimize.torch.quantization.quantization_config import QuantizationScheme

_WEIGHT_DTYPES: dict[Any, tuple[torch.dtype, int]] = {
    "qint8": (torch.qint8, 8),
    "quint8": (torch.quint8, 8),
    "qint4": (torch.qint8, 4),  # torch has no 4-bit dtypes; the width goes beside it
    "quint4": (torch.quint8, 4),
    "float32": (torch.float32, 32),
    torch.qint8: (torch.qint8, 8),
    torch.quint8: (torch.quint8, 8),
    torch.int8: (torch.qint8, 8),  # the documented default
    torch.uint8: (torch.quint8, 8),
    torch.float32: (torch.float32, 32),
}
_ACTIVATION_DTYPES: dict[Any, torch.dtype] = {
    "quint8": torch.quint8,
    "float32": torch.float32,
    torch.quint8: torch.quint8,
    torch.float32: torch.float32,
}


class ObserverType(Enum):
    """How the range of what is observed follows from batch to batch."""

    moving_average_min_max = "moving_average_min_max"
    min_max = "min_max"
    ema_min_max = "ema_min_max"


def _looked_up(name: str, value: Any, table: dict[Any, Any]) -> Any:
    try:
        return table[value]
    except (KeyError, TypeError):
        raise ValueError(
            f"{name} must be one of {', '.join(map(str, table))}, got {value!r}"
        ) from None


def _set_weight_dtype(
    config: ModuleLinearQuantizerConfig, _attribute: attrs.Attribute[Any], value: Any
) -> Any:
    """Keep ``weight_n_bits`` in step with ``weight_dtype``."""
    dtype, n_bits = _looked_up("weight_dtype", value, _WEIGHT_DTYPES)
    object.__setattr__(config, "weight_n_bits", n_bits)
    return dtype


def _activation_dtype(value: Any) -> torch.dtype:
    dtype: torch.dtype = _looked_up("activation_dtype", value, _ACTIVATION_DTYPES)
    return dtype


def _check_milestones(
    _config: ModuleLinearQuantizerConfig, _attribute: attrs.Attribute[Any], milestones: Any
) -> None:
    if milestones is None:
        return
    whole = isinstance(milestones, list | tuple) and all(type(each) is int for each in milestones)
    if not whole or len(milestones) != 4:
        raise AssertionError(
            "milestones must be four ints: the steps at which observing starts, simulating starts, "
            f"observing ends and batch norm statistics freeze, -1 for never; got {milestones!r}"
        )


@attrs.define
class ModuleLinearQuantizerConfig(ModuleOptimizationConfig):
    """How to quantize a layer and the activations around it.

    Args:
        algorithm: "vanilla", rounding with a straight-through gradient, or "learnable" (LSQ, LSQ+).
        weight_dtype: "qint8", "quint8", "qint4", "quint4", torch.qint8, torch.quint8, torch.int8
            or torch.uint8; "float32" or torch.float32 leaves weights as they are. Stored as
            torch.qint8, torch.quint8 or torch.float32.
        weight_observer: an `ObserverType` or its name.
        weight_per_channel: whether each output channel has a scale of its own.
        activation_dtype: "quint8" or torch.quint8; "float32" or torch.float32 leaves activations
            as they are.
        activation_observer: an `ObserverType` or its name.
        quantization_scheme: a `QuantizationScheme` or its name.
        milestones: None, everything is on from the start; or the four steps at which observing
            starts, simulating starts, observing ends and batch norm statistics freeze, -1 for
            never.

    Attributes:
        weight_n_bits: width of a weight's code, 4 or 8; 32 for float32.

    Raises:
        ValueError: a value that is none of the accepted ones.
        TypeError: ``weight_per_channel`` is not a bool.
        AssertionError: milestones that are not four ints.
    """

    algorithm: str = attrs.field(
        default="vanilla", validator=attrs.validators.in_(("vanilla", "learnable"))
    )
    weight_dtype: Any = attrs.field(default="qint8", on_setattr=_set_weight_dtype)
    weight_n_bits: int = attrs.field(init=False, on_setattr=attrs.setters.frozen)
    weight_observer: ObserverType = attrs.field(
        default=ObserverType.moving_average_min_max, converter=ObserverType
    )
    weight_per_channel: bool = attrs.field(
        default=True, validator=attrs.validators.instance_of(bool)
    )
    activation_dtype: Any = attrs.field(default="quint8", converter=_activation_dtype)
    activation_observer: ObserverType = attrs.field(
        default=ObserverType.moving_average_min_max, converter=ObserverType
    )
    quantization_scheme: QuantizationScheme = attrs.field(
        default=QuantizationScheme.symmetric, converter=QuantizationScheme
    )
    milestones: list[int] | None = attrs.field(default=None, validator=_check_milestones)

    def __attrs_post_init__(self) -> None:
        self.weight_dtype = self.weight_dtype

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments as plain data, which `from_dict` accepts."""
        found = super().as_dict()
        names = {value: name for name, value in _WEIGHT_DTYPES.items() if isinstance(name, str)}
        found["weight_dtype"] = names[self.weight_dtype, self.weight_n_bits]
        found["activation_dtype"] = str(self.activation_dtype).removeprefix("torch.")
        return found

    @property
    def quantizes_weights(self) -> bool:
        """Whether weights are quantized."""
        return bool(self.weight_dtype != torch.float32)

    @property
    def quantizes_activations(self) -> bool:
        """Whether activations are quantized."""
        return bool(self.activation_dtype != torch.float32)


def _own_list(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _check_strings(
    _config: LinearQuantizerConfig, attribute: attrs.Attribute[Any], value: Any
) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{attribute.name} must be a list of strings, got {value!r}")


@attrs.define
class LinearQuantizerConfig(OptimizationConfig[ModuleLinearQuantizerConfig]):
    """Which layers LinearQuantizer quantizes, and how.

    With entries but without a global configuration, layers that nothing names get the defaults;
    None for a type or a name leaves its layers alone.

    Args:
        global_config: for every layer that nothing else names.
        module_type_configs: module class or function, or the name of one, to configuration or None.
        module_name_configs: regular expression to configuration or None.
        non_traceable_module_names: qualified names of modules that are called as they are, since
            they cannot be traced.
        preserved_attributes: names of attributes of the model that the prepared and the finalized
            model keep.

    Raises:
        ValueError: quantization_scheme or algorithm differ between entries.
        TypeError: an entry that is neither a configuration nor None, or no list of strings.
    """

    _module_config_class: ClassVar[type[Any]] = ModuleLinearQuantizerConfig

    non_traceable_module_names: list[str] = attrs.field(
        factory=list, converter=_own_list, validator=_check_strings
    )
    preserved_attributes: list[str] = attrs.field(
        factory=list, converter=_own_list, validator=_check_strings
    )

    def __attrs_post_init__(self) -> None:
        if self._selects_nothing():
            self.global_config = ModuleLinearQuantizerConfig()
        self._require_equal("quantization_scheme")
        self._require_equal("algorithm")

    @property
    def default(self) -> ModuleLinearQuantizerConfig:
        """For what nothing names: the global entry, or defaults like those of the other entries."""
        if self.global_config is not None:
            return self.global_config
        entries = [*self.module_type_configs.values(), *self.module_name_configs.values()]
        given = next((entry for entry in entries if entry is not None), None)
        if given is None:
            return ModuleLinearQuantizerConfig()
        return ModuleLinearQuantizerConfig(
            algorithm=given.algorithm,
            quantization_scheme=given.quantization_scheme,
            milestones=given.milestones,
        )

    def get_module_config(
        self, name: str, module: torch.nn.Module
    ) -> ModuleLinearQuantizerConfig | None:
        """The configuration of a layer, or None if it is to be left alone."""
        if self._names(name, module):
            return super().get_module_config(name, module)
        return self.default

    def _names(self, name: str, module: torch.nn.Module) -> bool:
        kinds = {type(module), type(module).__name__}
        return not kinds.isdisjoint(self.module_type_configs) or any(
            re.fullmatch(pattern, name) for pattern in self.module_name_configs
        )

    def of_function(self, function: Any) -> ModuleLinearQuantizerConfig | None:
        """The configuration of a function's calls, or None if they are to be left alone."""
        if function in self.module_type_configs:
            return self.module_type_configs[function]
        return self.default
