"""Data-free post-training quantization of weights: round to nearest, layer by layer.

The weights keep their dtype and hold the values that their codes stand for; buffers beside them
tell the converter which codes those are.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import nn

from coreml_assay.numerics import Grid
from coreml_assay.optimize.torch._layers import (
    Place,
    find_layers,
    keys_without_layer,
    places_of_parameters,
    qualified,
)
from coreml_assay.optimize.torch._metadata import (
    register_quantization,
    register_version,
)
from coreml_assay.optimize.torch._suitability import unsuitable
from coreml_assay.optimize.torch.base_model_optimizer import BaseModelOptimizer, Report
from coreml_assay.optimize.torch.optimization_config import (
    ModuleOptimizationConfig,
    OptimizationConfig,
    QuantizationGranularity,
)
from coreml_assay.optimize.torch.quantization._plan import Plan, Skip, block_shape
from coreml_assay.optimize.torch.quantization._tensors import quantize_tensor
from coreml_assay.optimize.torch.quantization.quantization_config import QuantizationScheme

_logger = logging.getLogger(__name__)

_WEIGHT_DTYPES: dict[Any, tuple[Any, int]] = {
    "int8": (torch.int8, 8),
    "uint8": (torch.uint8, 8),
    "int4": (torch.int8, 4),  # torch has no 4-bit dtypes; the width goes beside it
    "uint4": (torch.uint8, 4),
    "float32": (torch.float32, 32),
    torch.int8: (torch.int8, 8),
    torch.uint8: (torch.uint8, 8),
    torch.float32: (torch.float32, 32),
}
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def _set_weight_dtype(
    config: ModulePostTrainingQuantizerConfig, _attribute: attrs.Attribute[Any], value: Any
) -> Any:
    """Keep ``weight_n_bits`` in step with ``weight_dtype``."""
    try:
        dtype, n_bits = _WEIGHT_DTYPES[value]
    except (KeyError, TypeError):
        accepted = ", ".join(map(str, _WEIGHT_DTYPES))
        raise ValueError(f"weight_dtype must be one of {accepted}, got {value!r}") from None
    object.__setattr__(config, "weight_n_bits", n_bits)
    return dtype


def _sizes(block_size: Any) -> Any:
    """A tuple for an int, and for a list, which is what YAML has for a tuple."""
    if type(block_size) is int:
        return (block_size,)
    return tuple(block_size) if isinstance(block_size, list) else block_size


def _check_block_size(
    config: ModulePostTrainingQuantizerConfig, _attribute: attrs.Attribute[Any], sizes: Any
) -> None:
    blockwise = config.granularity is QuantizationGranularity.per_block
    if blockwise and sizes is None:
        raise AssertionError("granularity per_block needs a block_size")
    if not blockwise and sizes is not None:
        raise AssertionError(
            f"block_size can be given with granularity per_block only, "
            f"got it with {config.granularity.value}"
        )
    if sizes is None:
        return
    if not (isinstance(sizes, tuple) and all(type(size) is int for size in sizes)):
        raise TypeError(f"block_size must be an int or a tuple of ints, got {sizes!r}")
    if not sizes or min(sizes) < 0:
        raise ValueError(f"block_size must hold at least one size and none below 0, got {sizes}")


@attrs.define
class ModulePostTrainingQuantizerConfig(ModuleOptimizationConfig):
    """How to quantize the weights of a layer.

    Args:
        weight_dtype: "int8", "uint8", "int4", "uint4", torch.int8 or torch.uint8; "float32" or
            torch.float32 leaves the layer as it is. Stored as a torch dtype, the 4-bit names as
            torch.int8 and torch.uint8.
        granularity: a `QuantizationGranularity` or its name. The channels of "per_channel" are
            output channels.
        quantization_scheme: a `QuantizationScheme` or its name. Symmetric codes have their zero
            point in the middle: 0, or 127 for uint8 and 7 for uint4.
        block_size: with "per_block", and only then. An int is the number of input channels that
            share a scale within one output channel. A tuple gives block sizes for (output
            channels, input channels, ...); a list is taken as a tuple. A channel axis is cut by a
            size above 0 and below its length. If the input channels alone are cut, each output
            channel has blocks of its own; if nothing is cut, or a size does not divide its axis,
            the layer is skipped.

    Attributes:
        weight_n_bits: width of a code, 4 or 8; 32 for float32.

    Raises:
        ValueError: a value that is none of the accepted ones; 8-bit floating point is refused.
        TypeError: a block size that is no int and no tuple of ints.
        AssertionError: per_block without a block size, or a block size without per_block.
    """

    weight_dtype: Any = attrs.field(default="int8", on_setattr=_set_weight_dtype)
    weight_n_bits: int = attrs.field(init=False, on_setattr=attrs.setters.frozen)
    granularity: QuantizationGranularity = attrs.field(
        default=QuantizationGranularity.per_channel, converter=QuantizationGranularity
    )
    quantization_scheme: QuantizationScheme = attrs.field(
        default=QuantizationScheme.symmetric, converter=QuantizationScheme
    )
    block_size: tuple[int, ...] | None = attrs.field(
        default=None, converter=_sizes, validator=_check_block_size
    )

    def __attrs_post_init__(self) -> None:
        self.weight_dtype = self.weight_dtype

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments as plain data, which `from_dict` accepts."""
        return {**super().as_dict(), "weight_dtype": self._code_type()}

    def _code_type(self) -> str:
        """The name of ``weight_dtype`` that tells 4 from 8 bits."""
        return next(
            str(name)
            for name, stored in _WEIGHT_DTYPES.items()
            if stored == (self.weight_dtype, self.weight_n_bits)
        )


@attrs.define
class PostTrainingQuantizerConfig(OptimizationConfig[ModulePostTrainingQuantizerConfig]):
    """Which layers `PostTrainingQuantizer` quantizes, and how.

    For a layer, the first of these that exists decides: the first name, in the order of
    insertion, that matches the layer's whole name as a regular expression; the layer's exact
    class; the name of its class; the global configuration. None means: leave the layer alone.
    Without any entry at all, every layer gets the default `ModulePostTrainingQuantizerConfig`.

    Args:
        global_config: for every layer that nothing else names.
        module_type_configs: module class, or the name of one, to configuration or None.
        module_name_configs: regular expression to configuration or None.

    Raises:
        TypeError: a value that is neither a module configuration nor None, or an unsuitable key.
        ValueError: a name that is not a regular expression, or module configurations that
            differ in ``quantization_scheme``.
    """

    _module_config_class: ClassVar[type[Any]] = ModulePostTrainingQuantizerConfig

    def __attrs_post_init__(self) -> None:
        if self._selects_nothing():
            self.global_config = ModulePostTrainingQuantizerConfig()
        self._require_equal("quantization_scheme")


@attrs.frozen(eq=False)
class _Weight:
    """A layer's parameter, and what is to be done with it."""

    place: Place
    plan: Plan | Skip


class PostTrainingQuantizer(BaseModelOptimizer):
    """Quantizes the weights of a model without data.

    Quantized are the weights of convolutions, transposed convolutions, `torch.nn.Linear`, and the
    projections of `torch.nn.MultiheadAttention` with one configuration for all of them. Biases
    and other layers stay as they are. What could not be quantized stays bit for bit as it was;
    `report` names it with the reason.

    A parameter that several layers share is quantized once and stays shared, if their
    configurations agree on it, and is skipped otherwise. Other modules that hold it, such as an
    embedding tied to the last layer, share the quantized values. A parameter that is quantized or
    palettized already is skipped; a pruned one is quantized on top, its zeros stay zeros.

    Args:
        model: the model to be quantized.
        config: which layers to quantize and how; by default all of them, to int8 per channel.

    Raises:
        TypeError: the model is not a torch.nn.Module, or the configuration another optimizer's.
    """

    _supported_modules = (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Linear,
        nn.MultiheadAttention,
    )
    _config_class = PostTrainingQuantizerConfig

    def __init__(
        self, model: torch.nn.Module, config: PostTrainingQuantizerConfig | None = None
    ) -> None:
        super().__init__(model, PostTrainingQuantizerConfig() if config is None else config)
        self._report = Report()

    def compress(self, inplace: bool = False) -> torch.nn.Module:
        """Quantize the selected weights and register the metadata that conversion needs.

        Args:
            inplace: change the model itself; otherwise a deep copy, and the model stays as it is.

        Returns:
            The changed model.

        Warns:
            UserWarning: a name in the configuration finds no layer, or nothing was quantized.
        """
        model = self._model_to_change(inplace)
        layers = find_layers(model, self._supported_modules)
        for problem in keys_without_layer(self._config, model, layers):
            warnings.warn(problem, UserWarning, stacklevel=2)
        weights = [
            weight
            for name, layer in layers.items()
            for weight in _weights(name, layer, self._config.get_module_config(name, layer))
        ]
        places = places_of_parameters(model)
        report = Report()
        for sharers in _by_parameter(weights):
            _compress(sharers, places, report)
        if report:
            register_version(model)
        else:
            warnings.warn(_nothing_compressed(report.skipped), UserWarning, stacklevel=2)
        report.skipped.update(_unsupported(layers, places, report))
        self._report = report
        return model

    def report(self) -> Report:
        """What the last `compress` did.

        Returns:
            For each quantized parameter its root-mean-square change ("error"), its number of
            elements ("#params") and its codes ("dtype", for example "dtype=uint4"); in
            ``skipped``, each other weight and why it is as it was. Empty before `compress`.
        """
        return self._report


def _weights(
    name: str, layer: torch.nn.Module, config: ModulePostTrainingQuantizerConfig | None
) -> Iterator[_Weight]:
    """The weights of a layer, all under the layer's configuration."""
    if isinstance(layer, nn.MultiheadAttention):
        names = [p for p in _ATTENTION_WEIGHTS if getattr(layer, p) is not None]
        places = [Place(qualified(name, p), layer, p) for p in names]
        places.append(Place(qualified(name, "out_proj.weight"), layer.out_proj, "weight"))
    else:
        places = [Place(qualified(name, "weight"), layer, "weight")]
    for place in places:
        yield _Weight(place, _plan(place, config))


def _plan(place: Place, config: ModulePostTrainingQuantizerConfig | None) -> Plan | Skip:
    """What a configuration asks for, or why it cannot be done."""
    if config is None:
        return Skip("the configuration does not select it", wanted=True)
    if config.weight_dtype is torch.float32:
        return Skip("weight_dtype is float32", wanted=True)
    if problem := unsuitable(place):
        return Skip(problem)
    blocks = block_shape(place.module, tuple(place.parameter.shape), config)
    if isinstance(blocks, Skip):
        return blocks
    signed = config.weight_dtype is torch.int8
    symmetric = config.quantization_scheme is QuantizationScheme.symmetric
    return Plan(Grid(config.weight_n_bits, signed, symmetric), blocks)


def _by_parameter(weights: Iterable[_Weight]) -> list[list[_Weight]]:
    """The weights, those that are one and the same parameter together."""
    groups: dict[int, list[_Weight]] = {}
    for weight in weights:
        parameter = weight.place.parameter
        groups.setdefault(id(weight if parameter is None else parameter), []).append(weight)
    return list(groups.values())


def _compress(sharers: list[_Weight], places: Mapping[int, list[Place]], report: Report) -> None:
    """Quantize one parameter and register it in all its places, or report why not."""
    plan = sharers[0].plan
    if any(weight.plan != plan for weight in sharers):
        names = ", ".join(weight.place.name for weight in sharers)
        plan = Skip(f"one parameter has several names ({names}) with different configurations")
    parameter = sharers[0].place.parameter
    outcome = plan if isinstance(plan, Skip) else _quantize(parameter, plan, places[id(parameter)])
    if not isinstance(outcome, Skip):
        report.update({place.name: dict(outcome) for place in places[id(parameter)]})
        return
    level = logging.INFO if outcome.wanted else logging.WARNING
    for weight in sharers:
        report.skipped[weight.place.name] = outcome.reason
        _logger.log(level, "%s is left as it was: %s", weight.place.name, outcome.reason)


def _quantize(parameter: torch.Tensor, plan: Plan, places: list[Place]) -> dict[str, Any] | Skip:
    """Quantize one parameter; returns its entry in the report."""
    try:
        quantized = quantize_tensor(parameter, plan.grid, plan.blocks)
    except ValueError as error:
        return Skip(str(error))
    change = (quantized.weight - parameter.detach()).float()
    # New storage rather than a copy into the old: the old one may be another parameter's too.
    parameter.data = quantized.weight
    for module, name in {(place.module, place.attribute) for place in places}:
        register_quantization(module, name, plan.grid.bits, quantized.scale, quantized.zero_point)
    return {
        "error": change.square_().mean().sqrt().item(),
        "#params": parameter.numel(),
        "dtype": f"dtype={plan.grid.name}",
    }


def _unsupported(
    layers: Mapping[str, torch.nn.Module], places: Mapping[int, list[Place]], report: Report
) -> dict[str, str]:
    """The weights of modules that are not treated: name -> reason."""
    treated = {id(module) for layer in layers.values() for module in layer.modules()}
    return {
        place.name: f"{type(place.module).__name__} is not among the supported layers"
        for held in places.values()
        for place in held
        if id(place.module) not in treated and place.name not in report and place.is_weight()
    }


def _nothing_compressed(skipped: Mapping[str, str]) -> str:
    if not skipped:
        return "nothing was quantized: the model has no layer of the supported types"
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in skipped.items())
    return f"nothing was quantized:\n{reasons}"
