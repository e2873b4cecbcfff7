"""What to quantize and how: one configuration per op, and where it applies.

The names, defaults, accepted values and error types are those of coremltools.optimize.coreml, so
that existing code keeps working.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import attrs
import cattrs
import numpy as np
import yaml
from attrs import field
from cattrs.errors import ClassValidationError
from coremltools.converters.mil.mil import types

from coreml_assay.numerics import Grid

MODES = ("LINEAR_SYMMETRIC", "LINEAR")


class CompressionGranularity(enum.Enum):
    """How many weights share a scale. Quantization of weights takes all but grouped channels."""

    PER_TENSOR = 1
    PER_GROUPED_CHANNEL = 2
    PER_CHANNEL = 3
    PER_BLOCK = 4


def _to_mode(mode: object) -> str:
    if not isinstance(mode, str):
        raise TypeError(f'"mode" must be a string, one of {MODES}, got {mode!r}')
    if mode.upper() not in MODES:
        raise ValueError(
            f"Only mode {MODES} supported for weight affine quantization. "
            f'Got mode: "{mode}"{_nearest(mode.upper(), MODES)}.'
        )
    return mode.upper()


def _to_dtype(dtype: Any) -> Any:
    """The MIL type of a code, from its name, its numpy type or itself."""
    if isinstance(dtype, str):
        try:
            dtype = types.string_to_builtin(dtype)
        except KeyError:
            raise ValueError(
                f"Invalid dtype {dtype}. Only support int8/uint8/int4/uint4."
            ) from None
    elif not (types.is_scalar(dtype) or types.is_str(dtype)):
        try:
            found = np.dtype(dtype)
            if dtype is None or found.kind == "O":  # numpy takes None, and any class, for a dtype
                raise TypeError
            dtype = types.numpy_type_to_builtin_type(found)
        except TypeError:
            raise TypeError(
                f'"dtype" must be a name, a numpy type or a MIL type, got {dtype!r}'
            ) from None
    if not (types.is_int(dtype) and dtype.get_bitwidth() in (4, 8)):
        raise ValueError(
            f"Invalid dtype. Should be int4/8 or uint4/8, but got {types.builtin_to_string(dtype)}"
        )
    return dtype


def _to_granularity(granularity: object) -> CompressionGranularity:
    accepted = {g.name.lower(): g for g in CompressionGranularity if g.name != _GROUPED}
    if isinstance(granularity, CompressionGranularity):
        granularity = granularity.name.lower()
    if not isinstance(granularity, str) or granularity not in accepted:
        raise ValueError(
            f'"granularity" must be one of {tuple(accepted)}, got {granularity!r}'
            f"{_nearest(str(granularity), accepted)}"
        )
    return accepted[granularity]


_GROUPED = CompressionGranularity.PER_GROUPED_CHANNEL.name


def _check_block_size(_config: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    sizes = value if isinstance(value, (list, tuple)) else [value]
    for size in sizes:
        if not isinstance(size, int) or size < 0:
            raise ValueError(
                "block_size must be a non-negative int, or a list or tuple of non-negative ints, "
                f"one for each axis of the weight; got {value!r}"
            )


def _check_threshold(_config: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int):
        raise TypeError(f'"weight_threshold" must be an int or None, got {value!r}')
    if value < 0:
        raise ValueError(f'"weight_threshold" must be a non-negative integer. Got {value}.')


class OpCompressorConfig:
    """Base of the per-op configurations."""

    __slots__ = ()  # so that a misspelt option cannot be assigned


@attrs.define
class OpLinearQuantizerConfig(OpCompressorConfig):
    """How the weights of an op are quantized.

    Source: API reference of ``coremltools.optimize.coreml.OpLinearQuantizerConfig``. Values are
    checked, and put into their stored form, on assignment as on construction.

    Attributes:
        mode: "linear_symmetric" (zero point in the middle) or "linear", in any letter case; stored
            in capitals.
        dtype: type of the codes: "int8", "uint8", "int4", "uint4", the numpy types, or the MIL
            types; stored as the MIL type. Four bits need a model for iOS18 or newer.
        granularity: "per_tensor", "per_channel" or "per_block" (iOS18 or newer).
        block_size: for per_block: the number of input channels that share a scale with one output
            channel; or one size for each axis of the weight, 0 for the whole axis.
        weight_threshold: weights with no more elements than this are left as they are; None
            stands for no threshold.

    Raises:
        ValueError: a value that is not accepted; the message says which are.
        TypeError: a mode that is not a string, a dtype that is no type, a threshold that is not an
            integer.
    """

    mode: str = field(default="linear_symmetric", converter=_to_mode)
    dtype: Any = field(
        default=types.int8,
        converter=_to_dtype,
        repr=lambda dtype: repr(types.builtin_to_string(dtype)),
    )
    granularity: CompressionGranularity = field(
        default=CompressionGranularity.PER_CHANNEL,
        converter=_to_granularity,
        repr=lambda granularity: repr(granularity.name.lower()),
    )
    block_size: Any = field(default=32, validator=_check_block_size)
    weight_threshold: int | None = field(default=2048, validator=_check_threshold)

    @property
    def nbits(self) -> int:
        """Width of a code."""
        return int(self.dtype.get_bitwidth())

    @property
    def signed(self) -> bool:
        """Whether codes may be negative."""
        return not self.dtype.is_unsigned()

    @property
    def grid(self) -> Grid:
        """The codes this configuration uses."""
        return Grid(self.nbits, self.signed, symmetric=self.mode == "LINEAR_SYMMETRIC")

    @classmethod
    def _from_dict(cls, options: Mapping[str, Any]) -> OpLinearQuantizerConfig:
        """Make a configuration from its options.

        Raises:
            ClassValidationError: an option that does not exist or a value that is not accepted.
        """
        converter = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=True)
        converter.register_structure_hook(int | None, lambda value, _: value)
        try:
            return converter.structure(options, cls)
        except ClassValidationError as error:
            raise ClassValidationError(_explain(error, cls), error.exceptions, cls) from None


@attrs.define
class OpActivationLinearQuantizerConfig(OpLinearQuantizerConfig):
    """How the activations of an op are quantized: ``mode``, and ``dtype`` int8 or uint8.

    The other options of `OpLinearQuantizerConfig` are accepted and have no effect;
    `linear_quantize_activations` warns of each.
    """


def _explain(error: ClassValidationError, cls: type[attrs.AttrsInstance]) -> str:
    """One line on what was wrong with the options of a configuration class."""
    accepted = [attribute.name for attribute in attrs.fields(cls)]
    reasons = []
    for cause in error.exceptions:
        unknown = getattr(cause, "extra_fields", None)
        if unknown:
            names = ", ".join(
                f"{name!r}{_nearest(str(name), accepted)}" for name in sorted(unknown, key=str)
            )
            reasons.append(f"has no option {names}; it has {', '.join(accepted)}")
        else:
            reasons.append(" ".join(str(cause).split()))
    return f"{cls.__name__} " + "; ".join(reasons)


def _nearest(name: str, accepted: Iterable[str]) -> str:
    """A hint at the accepted name that was probably meant, or nothing."""
    found = difflib.get_close_matches(name, list(accepted), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _check_op_config(value: object) -> None:
    if value is not None and not isinstance(value, OpCompressorConfig):
        raise ValueError(
            f"config must be type of OpCompressorConfig, or None; got {type(value).__name__}"
        )


def _check_op_configs(_config: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{attribute.name} must be type of dict. Got {type(value)}")
    for op_config in value.values():
        _check_op_config(op_config)


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


_CONFIG_TYPES = {
    each.__name__: each for each in (OpLinearQuantizerConfig, OpActivationLinearQuantizerConfig)
}


@attrs.define
class OptimizationConfig:
    """Which ops and weights get which configuration.

    A weight's own name comes first, then the name of the op that consumes it, then that op's
    type, then the global configuration. None, at any level, means "leave it as it is".

    Source: API reference of ``coremltools.optimize.coreml.OptimizationConfig``.

    Attributes:
        global_config: for everything that nothing below applies to.
        op_type_configs: op type, for example "conv", to configuration.
        op_name_configs: name of a weight or an op to configuration.

    Raises:
        ValueError: a configuration of the wrong type.
    """

    global_config: OpCompressorConfig | None = field(
        default=None, validator=lambda _config, _attribute, value: _check_op_config(value)
    )
    op_type_configs: dict[str, OpCompressorConfig | None] = field(
        default=None,
        converter=_or_empty,
        validator=_check_op_configs,
    )
    op_name_configs: dict[str, OpCompressorConfig | None] = field(
        default=None,
        converter=_or_empty,
        validator=_check_op_configs,
    )

    def set_global(self, op_config: OpCompressorConfig | None) -> None:
        """Set the configuration of everything that has none of its own."""
        self.global_config = op_config

    def set_op_type(self, op_type: str, op_config: OpCompressorConfig | None) -> None:
        """Set the configuration of all ops of a type."""
        _check_op_config(op_config)
        self.op_type_configs[op_type] = op_config

    def set_op_name(self, op_name: str, op_config: OpCompressorConfig | None) -> None:
        """Set the configuration of one op or one weight."""
        _check_op_config(op_config)
        self.op_name_configs[op_name] = op_config

    def op_configs(self) -> list[OpCompressorConfig | None]:
        """All configurations there are, at any level."""
        return [
            self.global_config,
            *self.op_type_configs.values(),
            *self.op_name_configs.values(),
        ]

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> OptimizationConfig:
        """Make a configuration from nested dictionaries, which are left as they are.

        Args:
            config_dict: "config_type" (the name of a configuration class) and any of
                "global_config", "op_type_configs", "op_name_configs". A configuration may name a
                "config_type" of its own.

        Raises:
            ValueError: a key or a configuration type that does not exist, or a value of the wrong
                type.
            ClassValidationError: a wrong option inside one configuration.
        """
        if not isinstance(config_dict, Mapping):
            raise ValueError(f"a configuration must be a dictionary, got {config_dict!r}")
        accepted = ("config_type", "global_config", "op_type_configs", "op_name_configs")
        for key in config_dict:
            if key not in accepted:
                raise ValueError(
                    f"Invalid key {key} to construct an OptimizationConfig object."
                    f"{_nearest(str(key), accepted)} Supported keys are {accepted}."
                )
        config_type = config_dict.get("config_type")
        if not isinstance(config_type, str):
            raise ValueError("config_type must be provided with type of string.")
        _config_class(config_type)
        configs = cls(global_config=_structure(config_dict.get("global_config"), config_type))
        for key in ("op_type_configs", "op_name_configs"):
            entries = config_dict.get(key)
            if entries is None:
                continue
            if not isinstance(entries, Mapping):
                raise ValueError(f"{key} must be type of dict. Got {type(entries)}")
            setattr(configs, key, {k: _structure(v, config_type) for k, v in entries.items()})
        return configs

    @classmethod
    def from_yaml(cls, yml: str | Path | IO[str]) -> OptimizationConfig:
        """Make a configuration from a YAML file, given by path or open.

        Raises:
            ValueError: not YAML, or as `from_dict`.
            OSError: the file cannot be read.
        """
        if isinstance(yml, (str, Path)):
            content: str | bytes = Path(yml).read_bytes()
            name = str(yml)
        else:
            content, name = yml.read(), str(getattr(yml, "name", "the stream"))
        try:
            loaded = yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise ValueError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
        if not isinstance(loaded, Mapping):
            raise ValueError(f"{name}: a configuration must be a dictionary, got {loaded!r}")
        return cls.from_dict(loaded)


def check_linear(config: object, function: str) -> None:
    """Refuse what is no configuration, and configurations of other kinds of compression.

    Args:
        config: what a user passed.
        function: the name of what it was passed to, for the message.

    Raises:
        ValueError: it is not an `OptimizationConfig` of `OpLinearQuantizerConfig`.
    """
    if not isinstance(config, OptimizationConfig):
        raise ValueError(f"config must be an OptimizationConfig, got {type(config).__name__}")
    for entry in config.op_configs():
        if entry is not None and not isinstance(entry, OpLinearQuantizerConfig):
            raise ValueError(
                f"{function} only accept OpLinearQuantizerConfig type config. "
                f"Got {type(entry).__name__}."
            )


def _structure(options: Any, config_type: str) -> OpCompressorConfig | None:
    """One configuration from its options; None stays None."""
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise ValueError(f"the options of a {config_type} must be a dictionary, got {options!r}")
    return _config_class(options.get("config_type", config_type))._from_dict(
        {key: value for key, value in options.items() if key != "config_type"}
    )


def _config_class(name: object) -> type[OpLinearQuantizerConfig]:
    if not isinstance(name, str) or name not in _CONFIG_TYPES:
        raise ValueError(
            f"config_type {name!r} does not exist{_nearest(str(name), _CONFIG_TYPES)}; "
            f"there is {', '.join(_CONFIG_TYPES)}"
        )
    return _CONFIG_TYPES[name]
