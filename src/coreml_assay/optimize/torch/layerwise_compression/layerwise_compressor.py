"""Compresses a model one layer after another, each from the inputs that calibration gives it.

A layer's inputs are gathered while all layers before it are compressed already, so that it makes
good what they got wrong.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import attrs
import torch

from coreml_assay.numerics.gptq import GPTQError
from coreml_assay.optimize.torch._layers import (
    Place,
    find_layers,
    keys_without_layer,
    places_of_parameters,
    qualified,
)
from coreml_assay.optimize.torch._metadata import copy_metadata, register_version
from coreml_assay.optimize.torch._suitability import unsuitable
from coreml_assay.optimize.torch.base_model_optimizer import BaseModelOptimizer, Report
from coreml_assay.optimize.torch.layerwise_compression._columns import LAYERS
from coreml_assay.optimize.torch.layerwise_compression.algorithms import (
    LayerwiseCompressionAlgorithm,
    LayerwiseCompressionAlgorithmConfig,
)
from coreml_assay.optimize.torch.layerwise_compression.gptq import ModuleGPTQConfig
from coreml_assay.optimize.torch.layerwise_compression.input_cacher import (
    FirstLayerInputCacher,
    Sample,
)
from coreml_assay.optimize.torch.optimization_config import OptimizationConfig

_logger = logging.getLogger(__name__)


def _check_layers(_config: Any, _attribute: attrs.Attribute[Any], layers: Any) -> None:
    if layers is None:
        return
    if not isinstance(layers, list) or not layers:
        raise TypeError(
            f"layers must be None or a list of names and modules, not empty, got {layers!r}"
        )
    for layer in layers:
        if not isinstance(layer, str | torch.nn.Module):
            raise TypeError(f"layers must hold names and modules, got {layer!r}")


def _check_samples(_config: Any, attribute: attrs.Attribute[Any], number: Any) -> None:
    if type(number) is not int:
        raise TypeError(f"{attribute.name} must be an int, got {number!r}")
    if number < 1:
        raise ValueError(f"{attribute.name} must be at least 1, got {number}")


def _known_cacher(name: Any) -> Any:
    if not (isinstance(name, type) and issubclass(name, FirstLayerInputCacher)):
        FirstLayerInputCacher.get_class(name)
    return name


@attrs.define
class LayerwiseCompressorConfig(OptimizationConfig[LayerwiseCompressionAlgorithmConfig]):
    """Which layers `LayerwiseCompressor` compresses, how, and from how many samples.

    Which module configuration a layer gets is decided as in `OptimizationConfig`; without any
    entry every layer gets the default `ModuleGPTQConfig`. In dictionaries the key "algorithm"
    says which algorithm an entry is for, "gptq" if it is absent.

    Args:
        global_config: for every layer that nothing else names.
        module_type_configs: module class, or the name of one, to configuration or None.
        module_name_configs: regular expression to configuration or None.
        layers: what is compressed in one go, in the order of the model: names of modules as
            regular expressions that match the whole name, and modules of the model; by default
            the children of the model.
        input_cacher: "default", "gpt", or another registered name; or a cacher class.
        calibration_nsamples: how many samples are used, at most.

    Raises:
        TypeError: a value of another type.
        ValueError: fewer samples than 1, or a name that is not a regular expression.
        NotImplementedError: an algorithm or cacher that nobody registered.

    Source: API reference of ``LayerwiseCompressorConfig``.
    """

    _module_config_class: ClassVar[type[Any]] = LayerwiseCompressionAlgorithmConfig

    layers: list[str | torch.nn.Module] | None = attrs.field(default=None, validator=_check_layers)
    input_cacher: Any = attrs.field(default="default", converter=_known_cacher)
    calibration_nsamples: int = attrs.field(default=128, validator=_check_samples)

    def __attrs_post_init__(self) -> None:
        if self._selects_nothing():
            self.global_config = ModuleGPTQConfig()

    def get_layers(self, model: torch.nn.Module) -> dict[str, torch.nn.Module]:
        """The modules that are compressed in one go, by name, in the order of the model.

        Raises:
            ValueError: an entry of ``layers`` finds none.
        """
        if self.layers is None:
            children = dict(model.named_children())
            return children or {"": model}
        modules = dict(model.named_modules())
        found: set[str] = set()
        for entry in self.layers:
            matching = {name for name, module in modules.items() if _is(entry, name, module)}
            if not matching:
                what = repr(entry) if isinstance(entry, str) else f"{type(entry).__name__} object"
                raise ValueError(f"layers: {what} finds no module of the model")
            found |= matching
        return {name: module for name, module in modules.items() if name in found}

    @classmethod
    def _nested(cls, where: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            name = value.get("algorithm", "gptq")
            return cls._structure(where, value, LayerwiseCompressionAlgorithmConfig.get_class(name))
        return super()._nested(where, value)


def _is(entry: str | torch.nn.Module, name: str, module: torch.nn.Module) -> bool:
    if isinstance(entry, str):
        return re.fullmatch(entry, name) is not None
    return entry is module


@attrs.define
class _AtWork:
    """An algorithm at work on one layer."""

    algorithm: Any
    place: Place
    samples: int = 0


class LayerwiseCompressor(BaseModelOptimizer):
    """Compresses a model layer by layer from calibration data.

    Compressed are convolutions and `torch.nn.Linear`, by default with GPTQ. What was not stays bit
    for bit as it was; `report` names it with the reason. A weight that several layers share is
    compressed for the first of them.

    With the "default" cacher the whole model runs for each of the configuration's ``layers``, so
    models of any shape are treated right; with "gpt" each layer's output is handed to the next.

    Args:
        model: to be compressed.
        config: which layers and how; by default all, with `ModuleGPTQConfig`.

    Raises:
        TypeError: the model is not a torch.nn.Module, or the configuration another optimizer's.

    Source: API reference of ``LayerwiseCompressor``.
    """

    _supported_modules = LAYERS
    _config_class = LayerwiseCompressorConfig

    def __init__(
        self, model: torch.nn.Module, config: LayerwiseCompressorConfig | None = None
    ) -> None:
        super().__init__(model, LayerwiseCompressorConfig() if config is None else config)
        self._report = Report()

    def compress(
        self,
        dataloader: Iterable[Any],
        device: torch.device | str | None = None,
        inplace: bool = False,
    ) -> torch.nn.Module:
        """Compress the selected layers and register the metadata that conversion needs.

        Args:
            dataloader: the calibration samples, each an input of the model: a tensor, a tuple or
                list of positional arguments, or a mapping of arguments by name.
            device: where to run; by default where the model is.
            inplace: change the model itself; otherwise a deep copy, and the model stays as it is.

        Returns:
            The changed model, each module in training mode if it was before.

        Raises:
            ValueError: there is no sample, ``layers`` finds no module, a layer that is to be
                compressed sees no sample, or sees NaN or infinities; the message names it.

        Warns:
            UserWarning: a name in the configuration finds no layer, more dampening was needed
                than asked for, or nothing was compressed.
        """
        config: Any = self._config
        names = list(config.get_layers(self._model))  # found in the original, where objects are
        model: torch.nn.Module = self._model_to_change(inplace)
        device = _device_of(model) if device is None else torch.device(device)
        model.to(device)
        modules = dict(model.named_modules())
        layers = {name: modules[name] for name in names}
        all_layers = find_layers(model, self._supported_modules)
        for problem in keys_without_layer(config, model, all_layers):
            warnings.warn(problem, UserWarning, stacklevel=2)
        cacher_class = config.input_cacher
        if isinstance(cacher_class, str):
            cacher_class = FirstLayerInputCacher.get_class(cacher_class)
        self._report = Report()
        places = places_of_parameters(model)
        with _evaluating(model), torch.no_grad():
            cacher = cacher_class(model, layers)
            samples = cacher.cache(dataloader, config.calibration_nsamples, device)
            if not samples:
                raise ValueError("dataloader holds no calibration sample")
            for name, layer in layers.items():
                run = model if cacher.caches_model_inputs else layer
                self._compress_within(name, layer, run, samples, places)
                if run is layer:
                    samples = [_next(layer, sample) for sample in samples]
        if self._report:
            register_version(model)
        for name in all_layers:
            weight = qualified(name, "weight")
            if weight not in self._report:
                self._report.skipped.setdefault(weight, "it is in none of the configured layers")
        if not self._report:
            reasons = "".join(f"\n  {key}: {why}" for key, why in self._report.skipped.items())
            warnings.warn(f"nothing was compressed:{reasons}", UserWarning, stacklevel=2)
        return model

    def report(self) -> Report:
        """What the last `compress` did.

        Returns:
            For each compressed weight its root-mean-square change ("error"), its number of
            elements ("#params"), and what the algorithm adds, as its codes ("dtype"); in
            ``skipped``, each other weight and why it is as it was. Empty before `compress`.
        """
        return self._report

    def _compress_within(
        self,
        name: str,
        layer: torch.nn.Module,
        run: Callable[..., Any],
        samples: list[Sample],
        places: Mapping[int, list[Place]],
    ) -> None:
        """Compress all supported layers inside one, from one pass over the samples."""
        at_work = list(self._start(name, layer))
        if not at_work:
            return
        index = 0

        def listener(work: _AtWork) -> Callable[..., None]:
            def listen(_module: Any, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
                inputs = args[0] if args else kwargs["input"]
                if not torch.isfinite(inputs).all():
                    kind = "NaN" if torch.isnan(inputs).any() else "infinities"
                    raise ValueError(
                        f"{work.place.name}: calibration sample {index} gives its layer {kind}"
                    )
                work.algorithm.add_batch(inputs, output)
                work.samples += 1

            return listen

        handles = [
            work.place.module.register_forward_hook(listener(work), with_kwargs=True)
            for work in at_work
        ]
        try:
            for index, sample in enumerate(samples):  # noqa: B007 - the listeners' messages
                run(*sample.args, **sample.kwargs)
        finally:
            for handle in handles:
                handle.remove()
        for work in at_work:
            self._finish(work, places)

    def _start(self, name: str, layer: torch.nn.Module) -> Iterator[_AtWork]:
        """An algorithm for each layer inside one that is to be compressed and can be."""
        seen: set[int] = set()
        for inner, module in find_layers(layer, self._supported_modules).items():
            module_name = qualified(name, inner) if inner else name
            weight = qualified(module_name, "weight")
            place = Place(weight, module, "weight")
            if weight in self._report or weight in self._report.skipped:
                continue
            config: Any = self._config.get_module_config(module_name, module)
            reason = _reason_to_leave(place, config)
            if reason is None and id(place.parameter) in seen:
                continue  # reported with its other places
            if reason is None:
                seen.add(id(place.parameter))
                algorithm = LayerwiseCompressionAlgorithm.get_class(config.algorithm)
                try:
                    yield _AtWork(algorithm(module, config), place)
                except ValueError as error:
                    reason = str(error)
            if reason is not None:
                self._report.skipped[weight] = reason
                _logger.info("%s is left as it was: %s", weight, reason)

    def _finish(self, work: _AtWork, places: Mapping[int, list[Place]]) -> None:
        name, module = work.place.name, work.place.module
        if not work.samples:
            raise ValueError(f"{name}: no calibration sample reached its layer")
        parameter: Any = work.place.parameter
        before = parameter.detach().clone()
        try:
            work.algorithm.compress()
        except GPTQError as error:
            raise GPTQError(f"{name}: {error}") from error
        work.algorithm.cleanup()
        entry = {
            "error": (parameter.detach() - before).float().square().mean().sqrt().item(),
            "#params": parameter.numel(),
            **work.algorithm.summary(),
        }
        if "dampening" in entry:
            warnings.warn(
                f"{name}: its Hessian needed dampening {entry['dampening']:g}, more than was "
                "asked for",
                UserWarning,
                stacklevel=4,
            )
        for place in places.get(id(parameter), [work.place]):
            copy_metadata(module, work.place.attribute, place.module, place.attribute)
            self._report[place.name] = dict(entry)
            self._report.skipped.pop(place.name, None)


def _reason_to_leave(place: Place, config: Any) -> str | None:
    if config is None:
        return "the configuration does not select it"
    if getattr(config, "weight_dtype", None) is torch.float32:
        return "weight_dtype is float32"
    reason = unsuitable(place)
    if reason is None and place.is_pruned():
        return "it is pruned, and compensation would fill its zeros"
    return reason


def _next(layer: torch.nn.Module, sample: Sample) -> Sample:
    """A sample for the layer after this one."""
    output = layer(*sample.args, **sample.kwargs)
    first = output[0] if isinstance(output, tuple | list) else output
    return Sample((first, *sample.args[1:]), sample.kwargs)


def _device_of(model: torch.nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """A model in evaluation mode; each module's own mode comes back."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
