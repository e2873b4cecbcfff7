"""A PyTorch model for LinearQuantizer, given as Python text, with data to calibrate it with.

Weights and data are multiples of 1/16, so that sums come out the same in any order and on any
machine. Nothing here imports torch before a model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from coreml_assay.numerics.blocks import Array

Config = Mapping[str, Any]  # as LinearQuantizerConfig.from_dict takes it

MILESTONES = [0, 1000, 1000, 0]
"""Those of the documented calibration: observe from the first step, never simulate."""
BATCHES = 3


@attrs.frozen
class TrainableModel:
    """A model to be calibrated or trained, and how.

    Attributes:
        source: Python that makes a ``model``.
        inputs: the shape of each input.
        config: of the quantizer.
        tokens: inputs are integers below this number, float32 if it is 0.
        target: what the finalized model is converted for.
    """

    source: str
    inputs: tuple[tuple[int, ...], ...]
    config: Config
    tokens: int = 0
    target: str = "iOS17"

    def build(self) -> Any:
        """The model, in evaluation mode, with weights that are the same each time."""
        import torch

        scope: dict[str, Any] = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
        exec(self.source, scope)
        model = scope["model"]
        with torch.no_grad():
            for number, (name, tensor) in enumerate(model.state_dict().items()):
                if tensor.is_floating_point():
                    tensor.copy_(torch.from_numpy(_state(name, tuple(tensor.shape), number)))
        return model.eval()

    def batches(self) -> list[tuple[Any, ...]]:
        """The inputs of each step of calibration; no two batches have the same range."""
        import torch

        return [
            tuple(
                torch.from_numpy(self._values(shape, 100 * batch + number))
                for number, shape in enumerate(self.inputs)
            )
            for batch in range(BATCHES)
        ]

    def _values(self, shape: tuple[int, ...], seed: int) -> Array:
        values = _sixteenths(shape, seed)
        if self.tokens:
            values = (values * 16).astype(np.int32) % self.tokens
        else:
            values *= (4.0, 1.0, 2.0)[seed // 100 % 3]
        return values


def _sixteenths(shape: tuple[int, ...], seed: int) -> Array:
    """Multiples of 1/16 from -1 to 1, float32; the same for a seed wherever they are computed."""
    # Knuth's multiplicative hashing, twice: the first leaves neighbours too much alike.
    numbers = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + np.uint64(7919 * (seed + 1))
    for _ in range(2):
        numbers = (numbers * np.uint64(2654435761) ^ (numbers >> np.uint64(7))) % np.uint64(2**32)
    values: Array = ((numbers >> np.uint64(9)) % np.uint64(33)).astype(np.float32) / 16 - 1
    return values.reshape(shape)


def _state(name: str, shape: tuple[int, ...], seed: int) -> Array:
    values = _sixteenths(shape, seed)
    if name.endswith("running_var"):
        return (values + 2) / 2  # 0.5 to 1.5
    if name.endswith("weight") and len(shape) == 1:  # of a normalization
        values[values == 0] = 1
    return values
