"""What every PyTorch optimizer's configuration has in common.

A container maps layers to module configurations: by name, by type, or for all of them. What a
module configuration holds is each algorithm's own matter.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import attrs
import cattrs
import torch
import yaml
from cattrs.errors import ClassValidationError

if TYPE_CHECKING:
    from typing_extensions import Self

ModuleType = Callable[..., Any] | str
"""A key of ``module_type_configs``: a module class, a function, or the name of one."""

# A module configuration of its own raises bare errors; one nested in a container is wrapped
# with the errors of its siblings, as cattrs does by default. Coercion is the attribute
# converters' business, so that dictionaries and constructors accept the same values.
_OWN = cattrs.Converter(
    forbid_extra_keys=True, prefer_attrib_converters=True, detailed_validation=False
)
_NESTED = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=True)


class QuantizationGranularity(Enum):
    """How many weights share one scale: a whole tensor, a channel, or a block of a channel."""

    per_tensor = "per_tensor"
    per_channel = "per_channel"
    per_block = "per_block"


class QuantizationScheme(Enum):
    """Where the zero point may lie.

    ``symmetric``: in the middle of the codes, so that both signs are treated alike.
    ``affine``: anywhere, so that the range of the weights uses all codes.
    """

    symmetric = "symmetric"
    affine = "affine"


class _Dictable:
    """From dictionaries and YAML, and back to a dictionary."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        raise NotImplementedError

    @classmethod
    def from_yaml(cls, yml: str | os.PathLike[str] | IO[Any]) -> Self:
        """Read the configuration from YAML; an empty document gives the defaults.

        Args:
            yml: a path, or an open stream.

        Raises:
            AssertionError: the document is not a mapping.
            yaml.YAMLError: it is not YAML.
            Exception: anything that `from_dict` raises.
        """
        source = (
            Path(yml).read_text(encoding="utf-8") if isinstance(yml, str | os.PathLike) else yml
        )
        document = yaml.safe_load(source)
        if document is None:
            document = {}
        if not isinstance(document, dict):
            raise AssertionError(
                f"the YAML document must be a mapping, got {type(document).__name__}"
            )
        return cls.from_dict(document)


@attrs.define
class ModuleOptimizationConfig(_Dictable):
    """What to do with one layer; each algorithm adds its own fields."""

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """Build the configuration from the constructor's arguments by name.

        Raises:
            TypeError: not a mapping.
            cattrs.errors.ForbiddenExtraKeysError: a key is not an argument of the constructor.
            Exception: whatever the constructor raises for the values.
        """
        _require_mapping(config_dict, "config_dict")
        return _OWN.structure(config_dict, cls)

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments as plain data, which `from_dict` accepts."""
        return {
            attribute.name: _plain(getattr(self, attribute.name))
            for attribute in attrs.fields(type(self))
            if attribute.init
        }


ModuleConfig = TypeVar("ModuleConfig", bound=ModuleOptimizationConfig)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _require_mapping(value: object, name: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary, got {type(value).__name__}")


def resolve_module_type(key: Any) -> Any:
    """The object that a module type's name stands for; a name nobody knows stays a name.

    Known are ``operator.x``, ``torch.x``, and the names in torch.nn and torch.nn.functional.
    Source: coremltools 9.0.
    """
    if not isinstance(key, str):
        return key
    for pattern, namespace in ((r"operator\.[a-z]+", operator), (r"torch\.[a-z]+", torch)):
        if re.fullmatch(pattern, key) and hasattr(namespace, key.rpartition(".")[2]):
            return getattr(namespace, key.rpartition(".")[2])
    for namespace in (torch.nn, torch.nn.functional):
        if hasattr(namespace, key):
            return getattr(namespace, key)
    return key


def _resolved(configs: Any) -> Any:
    """A copy with resolved keys; anything but a mapping is left for the validator to refuse."""
    if not isinstance(configs, Mapping):
        return configs
    return {resolve_module_type(key): config for key, config in configs.items()}


def _copied(configs: Any) -> Any:
    return dict(configs) if isinstance(configs, Mapping) else configs


def _check_global(
    container: OptimizationConfig[Any], attribute: attrs.Attribute[Any], config: object
) -> None:
    container._check_config(attribute.name, config)


def _check_types(
    container: OptimizationConfig[Any], attribute: attrs.Attribute[Any], configs: Any
) -> None:
    _require_mapping(configs, attribute.name)
    for key, config in configs.items():
        _check_type_key(key)
        container._check_config(f"{attribute.name}[{key!r}]", config)


def _check_names(
    container: OptimizationConfig[Any], attribute: attrs.Attribute[Any], configs: Any
) -> None:
    _require_mapping(configs, attribute.name)
    for name, config in configs.items():
        _check_name(name)
        container._check_config(f"{attribute.name}[{name!r}]", config)


def _check_type_key(key: object) -> None:
    if not (isinstance(key, str) or callable(key)):
        raise TypeError(
            f"a key of module_type_configs must be a module class, a function or the name of "
            f"one, got {key!r}"
        )


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a key of module_name_configs must be a string, got {name!r}")
    try:
        re.compile(name)
    except re.error as error:
        raise ValueError(
            f"module_name_configs[{name!r}] is not a regular expression: {error}"
        ) from error


@attrs.define
class OptimizationConfig(_Dictable, Generic[ModuleConfig]):
    """Which layers get which module configuration.

    For a layer, the first of these that exists decides: the first name, in the order of
    insertion, that matches the layer's whole name as a regular expression; the layer's exact
    class; the name of its class; the global configuration. None means: leave the layer alone.

    Args:
        global_config: for every layer that nothing else names.
        module_type_configs: module class, or the name of one, to configuration or None.
        module_name_configs: regular expression to configuration or None.

    Raises:
        TypeError: a value that is neither a module configuration nor None, or an unsuitable key.
        ValueError: a name that is not a regular expression.
    """

    global_config: ModuleConfig | None = attrs.field(default=None, validator=_check_global)
    module_type_configs: dict[ModuleType, ModuleConfig | None] = attrs.field(
        factory=dict, converter=_resolved, validator=_check_types
    )
    module_name_configs: dict[str, ModuleConfig | None] = attrs.field(
        factory=dict, converter=_copied, validator=_check_names
    )

    _module_config_class: ClassVar[type[Any]] = ModuleOptimizationConfig

    def set_global(self, global_config: ModuleConfig | None) -> Self:
        """Set the configuration of every layer that nothing else names. Returns itself."""
        self.global_config = global_config
        return self

    def set_module_type(self, object_type: ModuleType, opt_config: ModuleConfig | None) -> Self:
        """Set the configuration of one type of layer, replacing an earlier one. Returns itself."""
        _check_type_key(object_type)
        self._check_config(f"module_type_configs[{object_type!r}]", opt_config)
        self.module_type_configs[resolve_module_type(object_type)] = opt_config
        return self

    def set_module_name(self, module_name: str, opt_config: ModuleConfig | None) -> Self:
        """Set the configuration of the layers a name matches, replacing one. Returns itself."""
        _check_name(module_name)
        self._check_config(f"module_name_configs[{module_name!r}]", opt_config)
        self.module_name_configs[module_name] = opt_config
        return self

    def get_module_config(self, name: str, module: torch.nn.Module) -> ModuleConfig | None:
        """The configuration of a layer, or None if it is to be left alone.

        Args:
            name: the layer's qualified name in its model.
            module: the layer.
        """
        for pattern, config in self.module_name_configs.items():
            if re.fullmatch(pattern, name):
                return config
        for key in (type(module), type(module).__name__):
            if key in self.module_type_configs:
                return self.module_type_configs[key]
        return self.global_config

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """Build the configuration from nested dictionaries, which stay as they are.

        A module configuration is given as a dictionary, as an object, or as None.

        Raises:
            TypeError: something that must be a dictionary is not.
            ValueError: a key is not an argument of the constructor.
            AssertionError: a value of ``module_type_configs`` is none of the three.
            cattrs.errors.ClassValidationError: a module configuration is wrong; it wraps what
                the module configuration raises.
        """
        _require_mapping(config_dict, "config_dict")
        known = [attribute.name for attribute in attrs.fields(cls) if attribute.init]
        for key in config_dict:
            if key not in known:
                raise ValueError(
                    f"Found unrecognized key {key!r} in config_dict; known are {', '.join(known)}"
                )
        return cls(**{key: cls._structured(key, value) for key, value in config_dict.items()})

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments as dictionaries, which `from_dict` accepts.

        Module types that are classes or functions stay objects, the rest is plain data.
        """
        return {
            attribute.name: _dictionaries(getattr(self, attribute.name))
            for attribute in attrs.fields(type(self))
            if attribute.init
        }

    def _check_config(self, where: str, config: object) -> None:
        expected = self._module_config_class
        if config is not None and not isinstance(config, expected):
            raise TypeError(f"{where} must be a {expected.__name__} or None, got {config!r}")

    @classmethod
    def _structured(cls, key: str, value: Any) -> Any:
        """The constructor's argument that a dictionary's entry stands for."""
        if key == "global_config":
            return cls._nested(key, value)
        if key not in ("module_type_configs", "module_name_configs"):
            return value
        if value is None:  # an empty section of a YAML document
            return {}
        _require_mapping(value, key)
        return {name: cls._nested(f"{key}[{name!r}]", entry) for name, entry in value.items()}

    @classmethod
    def _nested(cls, where: str, value: Any) -> Any:
        """One module configuration of a dictionary."""
        expected = cls._module_config_class
        if value is None or isinstance(value, expected):
            return value
        if not isinstance(value, Mapping):
            problem = f"{where} must be a dictionary, a {expected.__name__} or None, got {value!r}"
            raise (AssertionError if where.startswith("module_type") else TypeError)(problem)
        return cls._structure(where, value, expected)

    @classmethod
    def _structure(cls, where: str, value: Mapping[str, Any], expected: type[Any]) -> Any:
        """A module configuration of a class, from a dictionary."""
        try:
            return _NESTED.structure(value, expected)
        except ClassValidationError as error:
            # cattrs names the class; the entry that is wrong is what its author looks for.
            raise ClassValidationError(
                f"in {where}: {error.message}", error.exceptions, error.cl
            ) from error

    def _selects_nothing(self) -> bool:
        return (
            self.global_config is None
            and not self.module_type_configs
            and not self.module_name_configs
        )

    def _require_equal(self, parameter: str) -> None:
        """Raise ValueError unless a parameter is the same in all module configurations."""
        configs = [
            ("global_config", self.global_config),
            *self.module_type_configs.items(),
            *self.module_name_configs.items(),
        ]
        values = [(key, getattr(config, parameter)) for key, config in configs if config]
        for key, value in values[1:]:
            first, expected = values[0]
            if value != expected:
                raise ValueError(
                    f"{parameter} must be the same in all module configurations, "
                    f"got {expected} in {first!r} and {value} in {key!r}"
                )


def _dictionaries(value: Any) -> Any:
    if isinstance(value, ModuleOptimizationConfig):
        return value.as_dict()
    if isinstance(value, dict):
        return {key: _dictionaries(entry) for key, entry in value.items()}
    return _plain(value)
