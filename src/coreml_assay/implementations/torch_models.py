"""PyTorch models for an implementation's torch face: layers to quantize, and reading the result.

A quantized model holds, beside each weight, buffers named ``_COREML_/<parameter>/<field>`` that
say which codes the weight stands for. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from coreml_assay.numerics.blocks import Array, split_shape, spread

_PREFIX = "_COREML_/"


@attrs.frozen
class Layer:
    """A layer of torch.nn, described so that it can be made and its making shown.

    Attributes:
        source: Python that makes it.
        weights: name and shape of each of its weights.
    """

    source: str
    weights: dict[str, tuple[int, ...]]

    @property
    def channel_axes(self) -> tuple[int, int]:
        """The axes of a weight that hold output and input channels."""
        return (1, 0) if "Transpose" in self.source else (0, 1)


LAYERS = {
    "Linear": Layer("torch.nn.Linear(8, 6)", {"weight": (6, 8)}),
    "Conv1d": Layer("torch.nn.Conv1d(4, 6, 3)", {"weight": (6, 4, 3)}),
    "Conv2d": Layer("torch.nn.Conv2d(4, 6, 3)", {"weight": (6, 4, 3, 3)}),
    "Conv2d-grouped": Layer("torch.nn.Conv2d(8, 6, 3, groups=2)", {"weight": (6, 4, 3, 3)}),
    "Conv3d": Layer("torch.nn.Conv3d(4, 6, 2)", {"weight": (6, 4, 2, 2, 2)}),
    "ConvTranspose1d": Layer("torch.nn.ConvTranspose1d(4, 6, 3)", {"weight": (4, 6, 3)}),
    "ConvTranspose2d": Layer("torch.nn.ConvTranspose2d(4, 6, 3)", {"weight": (4, 6, 3, 3)}),
    "ConvTranspose3d": Layer("torch.nn.ConvTranspose3d(4, 6, 2)", {"weight": (4, 6, 2, 2, 2)}),
    "MultiheadAttention": Layer(
        "torch.nn.MultiheadAttention(4, 2)", {"in_proj_weight": (12, 4), "out_proj.weight": (4, 4)}
    ),
    "MultiheadAttention-separate": Layer(
        "torch.nn.MultiheadAttention(4, 2, kdim=6, vdim=8)",
        {
            "q_proj_weight": (4, 4),
            "k_proj_weight": (4, 6),
            "v_proj_weight": (4, 8),
            "out_proj.weight": (4, 4),
        },
    ),
}
"""One of each kind of layer that post-training quantization treats."""


@attrs.frozen(eq=False)
class TorchWeight:
    """A parameter of a model, and what its buffers say about it.

    Attributes:
        values: the parameter; bfloat16, which numpy lacks, as float32.
        dtype: of the parameter, as torch names it.
        n_bits, scale, zero_point: of a quantized parameter, else None.
        compression_types: what was done to it, in order; 3 is quantization.
    """

    values: Array
    dtype: str
    n_bits: int | None = None
    scale: Array | None = None
    zero_point: Array | None = None
    compression_types: tuple[int, ...] = ()

    @property
    def is_quantized(self) -> bool:
        """Whether the parameter stands for codes."""
        return self.scale is not None

    @property
    def codes(self) -> Array:
        """The codes that the values stand for, as int64; all zero points where the scale is 0."""
        assert self.scale is not None, "the weight is not quantized"
        shape = split_shape(self.values.shape, self.scale.shape)
        scale = np.broadcast_to(spread(self.scale.astype(np.float64)), shape)
        values = self.values.astype(np.float64).reshape(shape)
        steps = np.divide(values, scale, out=np.zeros(shape), where=scale > 0)
        zero: Any = 0 if self.zero_point is None else spread(self.zero_point.astype(np.int64))
        codes: Array = np.rint(steps).astype(np.int64) + zero
        return codes.reshape(self.values.shape)


def torch_weights(model: Any) -> dict[str, TorchWeight]:
    """All parameters of a model by name, copied; one that has several names under each."""
    fields: dict[str, dict[str, Any]] = {}
    for key, buffer in model.state_dict().items():
        owner, found, rest = key.partition(_PREFIX)
        parameter, _, field = rest.rpartition("/")
        if found and parameter:
            fields.setdefault(owner + parameter, {})[field] = _array(buffer)
    return {
        name: _weight(parameter, fields.get(name, {}))
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def _weight(parameter: Any, fields: Mapping[str, Array]) -> TorchWeight:
    n_bits = fields.get("quantization_n_bits")
    return TorchWeight(
        values=_array(parameter),
        dtype=str(parameter.dtype),
        n_bits=None if n_bits is None else int(n_bits),
        scale=fields.get("quantization_scale"),
        zero_point=fields.get("zero_point"),
        compression_types=tuple(fields.get("compression_type", np.zeros(0, int)).tolist()),
    )


def _array(tensor: Any) -> Array:
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: Array = tensor.numpy().copy()  # the model may change
    return array
