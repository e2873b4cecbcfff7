"""Where the calibration inputs come from that a compressor feeds to layers.

A cacher takes samples from a data loader and says what they are inputs of: of the model, or of
its first layer that is to be compressed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import attrs
import torch

from coreml_assay.optimize.torch.layerwise_compression._registry import Registry


@attrs.define
class Sample:
    """One call's arguments."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class FirstLayerInputCacher(Registry, ABC):
    """Base of the cachers.

    Args:
        model: to be compressed.
        layers: those to be compressed, by name, in order.

    Attributes:
        caches_model_inputs: whether what `cache` returns are inputs of the model, rather than of
            the first layer.
    """

    _registered: ClassVar[dict[str, type[Any]]] = {}
    caches_model_inputs: ClassVar[bool] = False

    def __init__(self, model: torch.nn.Module, layers: Mapping[str, torch.nn.Module]) -> None:
        self._model = model
        self._layers = layers

    @abstractmethod
    def cache(self, dataloader: Iterable[Any], nsamples: int, device: torch.device) -> list[Sample]:
        """Take at most so many samples, on the device."""


@FirstLayerInputCacher.register("default")
class DefaultInputCacher(FirstLayerInputCacher):
    """Takes the samples as they are, as inputs of the model.

    A tensor is the one argument, a tuple or list the positional ones, a mapping those by name.
    """

    caches_model_inputs = True

    def cache(self, dataloader: Iterable[Any], nsamples: int, device: torch.device) -> list[Sample]:
        """Take the first samples; see `FirstLayerInputCacher`."""
        return [_sample(_on(batch, device)) for batch in islice(dataloader, nsamples)]


class _Reached(Exception):  # noqa: N818 - not an error: the way out of the model
    """The first layer has been reached."""


@FirstLayerInputCacher.register("gpt")
class GPTFirstLayerInputCacher(FirstLayerInputCacher):
    """Runs the model up to the first layer, and keeps what each sample gives that layer.

    From there each layer's output is the next one's first input; further arguments stay the
    sample's own.
    """

    def cache(self, dataloader: Iterable[Any], nsamples: int, device: torch.device) -> list[Sample]:
        """Take the first samples; see `FirstLayerInputCacher`."""
        samples: list[Sample] = []
        name, first = next(iter(self._layers.items()))

        def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            samples.append(Sample(args, dict(kwargs)))
            raise _Reached

        handle = first.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            for index, batch in enumerate(islice(dataloader, nsamples)):
                sample = _sample(_on(batch, device))
                try:
                    self._model(*sample.args, **sample.kwargs)
                except _Reached:
                    continue
                raise ValueError(f"calibration sample {index} does not reach layer {name!r}")
        finally:
            handle.remove()
        return samples


def _sample(batch: Any) -> Sample:
    if isinstance(batch, Mapping):
        return Sample((), dict(batch))
    return Sample(tuple(batch) if isinstance(batch, tuple | list) else (batch,), {})


def _on(value: Any, device: torch.device) -> Any:
    """Tensors within tuples, lists and mappings moved to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _on(entry, device) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_on(entry, device) for entry in value)
    return value
