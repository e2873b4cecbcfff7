"""LinearQuantizer: quantization of weights and activations by calibration or by training.

On torch.fx alone. `prepare` traces the model, joins layers with what follows them and inserts fake
quantizers; the model is then run, or trained, while `step` counts; `finalize` gives a model that
converts to Core ML.

Source: coremltools' API reference of LinearQuantizer; API overview, "Quantizing weights and
activations".
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import fx, nn

from coreml_assay.numerics.fake_quantize import (
    FakeQuantizer,
    FakeQuantizerBase,
    LearnableFakeQuantizer,
    RangeObserver,
)
from coreml_assay.optimize.torch._layers import keys_without_layer
from coreml_assay.optimize.torch.base_model_optimizer import BaseModelOptimizer, Report
from coreml_assay.optimize.torch.quantization import _fake_quantizers
from coreml_assay.optimize.torch.quantization._attributes import keep_attributes
from coreml_assay.optimize.torch.quantization._finalize import finalize, not_finite, unobserved
from coreml_assay.optimize.torch.quantization._fusion import fuse
from coreml_assay.optimize.torch.quantization._linear_config import (
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
)
from coreml_assay.optimize.torch.quantization._milestones import Schedule
from coreml_assay.optimize.torch.quantization._placement import place
from coreml_assay.optimize.torch.quantization._tracing import trace
from coreml_assay.optimize.torch.quantization._trainable_layers import TRAINABLE, TrainableLayer


class LinearQuantizer(BaseModelOptimizer):
    """Quantizes weights and activations, by calibration or by quantization-aware training.

    Args:
        model: traceable by torch.fx, but for the modules that the configuration leaves out.
        config: which layers, and how; by default all of them with the defaults.

    Raises:
        TypeError: the model is not a torch.nn.Module, or the configuration another optimizer's.
    """

    _supported_modules: ClassVar[tuple[type[nn.Module], ...]] = tuple(TRAINABLE)
    _config_class: ClassVar[type[Any]] = LinearQuantizerConfig
    _config: LinearQuantizerConfig

    def __init__(self, model: nn.Module, config: LinearQuantizerConfig | None = None) -> None:
        super().__init__(model, LinearQuantizerConfig() if config is None else config)
        self._schedule: Schedule | None = None
        self._is_finalized = False

    def prepare(self, example_inputs: Any, inplace: bool = False) -> Any:
        """Insert fake quantizers. The result is in training mode.

        Args:
            example_inputs: a tensor, a tuple or list of tensors, or a list of ints, which is a
                shape. The model is run on it once, without gradients.
            inplace: whether the given model itself becomes the prepared one; without, it stays
                as it is.

        Returns:
            The prepared model, a torch.fx.GraphModule; in place that is the given model.

        Raises:
            TypeError: example_inputs of another kind.
            ValueError: the model cannot be traced, or does not run on the example.
        """
        if self._schedule is not None:
            warnings.warn("the model is prepared already; it stays as it is", stacklevel=2)
            return self._model
        example = _example(example_inputs)
        given = self._model_to_change(inplace)
        for problem in keys_without_layer(self._config, given, dict(given.named_modules())):
            warnings.warn(problem, stacklevel=2)
        prepared = trace(given, example, self._config.non_traceable_module_names)
        modules = dict(prepared.named_modules(remove_duplicate=False))
        layer_configs = {
            name: self._with_milestones(self._config.get_module_config(name, module))
            for name, module in modules.items()
        }
        fuse(prepared, lambda name, layer: _for_weight(layer, layer_configs[name]))
        place(prepared, lambda node: self._config_of(node, layer_configs))
        prepared.train()
        self._schedule = Schedule.of(prepared)
        keep_attributes(self._config.preserved_attributes, given, prepared)
        if inplace:
            prepared = _become(given, prepared)
        self._model = prepared
        return prepared

    def _config_of(
        self, node: fx.Node, layer_configs: dict[str, ModuleLinearQuantizerConfig | None]
    ) -> ModuleLinearQuantizerConfig | None:
        if node.op == "call_module":
            return layer_configs[str(node.target)]
        return self._with_milestones(self._config.of_function(node.target))

    def _with_milestones(
        self, config: ModuleLinearQuantizerConfig | None
    ) -> ModuleLinearQuantizerConfig | None:
        """An entry without milestones has those of the default."""
        if config is None or config.milestones is not None:
            return config
        return attrs.evolve(
            config,
            weight_dtype=config.as_dict()["weight_dtype"],
            milestones=self._config.default.milestones,
        )

    def step(self) -> None:
        """Count a step of training, and switch what has its milestone at it."""
        if self._schedule is None:
            warnings.warn("step() before prepare() has no effect", stacklevel=2)
        else:
            self._schedule.step()

    def finalize(
        self, model: Any = None, inplace: bool = False, *, unobserved_is_error: bool = False
    ) -> Any:
        """The model to be converted: rounded weights, quantize and dequantize for activations.

        Args:
            model: the prepared model; by default the one that `prepare` returned.
            inplace: whether the prepared model itself becomes the finalized one.
            unobserved_is_error: whether a fake quantizer of activations that has seen no data is
                an error; by default it is a warning that names it.

        Returns:
            The finalized model, in evaluation mode; before `prepare` the model as it is, with a
            warning.

        Raises:
            ValueError: with ``unobserved_is_error``; or NaN or infinities were observed.
        """
        model = self._model if model is None else model
        if self._schedule is None:
            warnings.warn("finalize() before prepare() has no effect", stacklevel=2)
            return model
        if self._is_finalized and model is self._model:
            return model if inplace else copy.deepcopy(model)
        if names := not_finite(model):
            raise ValueError(
                f"{', '.join(names)} observed NaN or infinite values, which no scale can hold: "
                "look for them in the data and in the model's weights, and prepare it anew"
            )
        if names := unobserved(model):
            message = _complaint(names)
            if unobserved_is_error:
                raise ValueError(message)
            warnings.warn(message, stacklevel=2)
        finalized = model if inplace else copy.deepcopy(model)
        finalize(finalized)
        if inplace:
            self._model, self._is_finalized = finalized, True
        return finalized

    def report(self) -> Report:
        """A row for each fake quantizer: of weights with their root-mean-square change.

        Columns: type ("weight" or "activation"), device, algorithm, qscheme, per_channel, dtype,
        qmin, qmax, error (NaN for activations), #params (-1 for activations).
        """
        report = Report()
        for name, module in self._model.named_modules(remove_duplicate=False):
            if isinstance(module, TrainableLayer) and module.weight_fake_quant is not None:
                report[name] = _row(module.weight_fake_quant, module)
            elif isinstance(module, FakeQuantizerBase) and "." not in name:
                report[name] = _row(module, None)
        return report

    def enable_observer_sync(self) -> None:
        """Let observers agree on ranges among the processes of distributed training."""
        self._synchronize(True)

    def disable_observer_sync(self) -> None:
        """Let each process of distributed training observe for itself."""
        self._synchronize(False)

    def _synchronize(self, on: bool) -> None:
        for observer in self._observers():
            observer.synchronize = on

    def _observers(self) -> Iterator[RangeObserver]:
        return (each for each in self._model.modules() if isinstance(each, RangeObserver))


def _for_weight(
    layer: nn.Module, config: ModuleLinearQuantizerConfig | None
) -> FakeQuantizerBase | None:
    return None if config is None else _fake_quantizers.for_weight(layer, config)


def _example(given: Any) -> tuple[Any, ...]:
    """Arguments of the model's forward."""
    if isinstance(given, torch.Tensor):
        return (given,)
    if isinstance(given, Sequence) and not isinstance(given, str) and given:
        if all(isinstance(each, torch.Tensor) for each in given):
            return tuple(given)
        if all(type(each) is int for each in given):
            return (torch.zeros(tuple(given)),)
    raise TypeError(
        "example_inputs must be a tensor, a tuple or list of tensors, or a shape as a list of "
        f"ints, got {given!r}"
    )


def _become(given: nn.Module, prepared: fx.GraphModule) -> Any:
    """Turn one model into another: whoever holds it holds the other from now on."""
    given.__class__ = prepared.__class__
    given.__dict__ = prepared.__dict__
    return given


def _complaint(names: list[str]) -> str:
    return (
        f"{', '.join(names)} have seen no data, so their scale is a guess: run calibration data "
        "through the prepared model while observing is on (with milestones, step() starts it)"
    )


@torch.no_grad()
def _row(quantizer: FakeQuantizerBase, layer: TrainableLayer | None) -> dict[str, Any]:
    scale, _ = quantizer.final_parameters()
    learns = isinstance(quantizer, LearnableFakeQuantizer)
    error, size = math.nan, -1
    if layer is not None:
        weight: Any = layer.folded_weight()
        error = float((quantizer.rounded(weight) - weight).square().mean().sqrt())
        size = weight.numel()
    return {
        "type": "activation" if layer is None else "weight",
        "device": str(scale.device),
        "algorithm": "learnable" if learns else "vanilla",
        "qscheme": "symmetric" if quantizer.symmetric else "affine",
        "per_channel": isinstance(quantizer, FakeQuantizer) and quantizer.channel_axis is not None,
        "dtype": quantizer.grid.name,
        "qmin": quantizer.grid.lowest,
        "qmax": quantizer.grid.highest,
        "error": error,
        "#params": size,
    }
