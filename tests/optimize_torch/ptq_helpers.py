"""What the post-training quantizer's tests share: small models, and looking into ML programs."""

from __future__ import annotations

import warnings

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import nn

from coreml_assay.optimize.torch.quantization import (
    PostTrainingQuantizer,
    PostTrainingQuantizerConfig,
)

SCALE = "_COREML_/{}/quantization_scale"
ZERO_POINT = "_COREML_/{}/zero_point"


def quantizer(model, **config):
    """A quantizer with one configuration for all layers."""
    return PostTrainingQuantizer(
        model, PostTrainingQuantizerConfig.from_dict({"global_config": config})
    )


def compress(model, **config):
    return quantizer(model, **config).compress()


def compress_silently(model, **config):
    """`compress` for models in which nothing can be quantized."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        q = quantizer(model, **config)
        return q.compress(), q.report()


def bits(array):
    """The bit patterns of an array, so that -0.0 differs from 0.0 and NaN equals NaN."""
    array = np.ascontiguousarray(array)
    return array.view(f"u{array.itemsize}")


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype is torch.bfloat16:
        a, b = a.float(), b.float()
    return a.dtype == b.dtype and np.array_equal(bits(a.detach().numpy()), bits(b.detach().numpy()))


def assert_skipped(model, reason, name="weight", **config):
    """Nothing is quantized, the model's state keeps its bits, and the reason is given."""
    q = quantizer(model, **config)
    with pytest.warns(UserWarning, match="nothing was quantized") as caught:
        found = q.compress()
    assert reason in q.report().skipped[name]
    assert reason in str(caught[0].message)
    assert not q.report()
    expected = model.state_dict()
    assert found.state_dict().keys() == expected.keys()
    assert all(same_bits(found.state_dict()[key], expected[key]) for key in expected)


def assert_same_state(found, expected):
    """All entries of two state dictionaries are equal bit for bit."""
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype, key
        assert found[key].shape == tensor.shape, key
        assert torch.equal(found[key], tensor), (key, found[key], tensor)


class Attention(nn.Module):
    """An attention layer as a model of its own, with one output."""

    def __init__(self, **sizes):
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, **sizes)

    def forward(self, query, key, value):
        return self.attn(query, key, value, need_weights=False)[0]


LAYERS = {
    "Linear": (lambda: nn.Linear(8, 6), [(1, 8)]),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), [(1, 4, 7)]),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3), [(1, 4, 5, 5)]),
    "Conv2d, grouped": (lambda: nn.Conv2d(8, 6, 3, groups=2), [(1, 8, 5, 5)]),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 2), [(1, 4, 4, 4, 4)]),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3), [(1, 4, 7)]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3), [(1, 4, 5, 5)]),
    "ConvTranspose2d, grouped": (lambda: nn.ConvTranspose2d(8, 6, 3, groups=2), [(1, 8, 5, 5)]),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 6, 2), [(1, 4, 4, 4, 4)]),
    "MultiheadAttention": (Attention, [(3, 1, 8)] * 3),
    "MultiheadAttention, separate": (
        lambda: Attention(kdim=4, vdim=6),
        [(3, 1, 8), (3, 1, 4), (3, 1, 6)],
    ),
}
"""Name -> a function that makes the layer, and the shapes of its inputs."""


def convert(model, inputs, target, to="milinternal", **options):
    """The ML program of a model, as coremltools' internal representation or as a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's tracer and coremltools warn about each other
        return ct.convert(
            torch.jit.trace(model.eval(), inputs),
            inputs=[ct.TensorType(shape=tuple(x.shape), dtype=_numpy_dtype(x)) for x in inputs],
            minimum_deployment_target=target,
            convert_to=to,
            **options,
        )


def _numpy_dtype(x):
    return np.float16 if x.dtype is torch.float16 else x.numpy().dtype


def decompressed(program):
    """Name of each constexpr operation -> the weights it stands for, computed as documented."""
    return {
        op.name: _DEQUANTIZE[op.op_type](op)
        for op in program.functions["main"].operations
        if op.op_type.startswith("constexpr")
    }


def _affine_dequantize(op):
    """(quantized_data - zero_point) * scale, both scalars or vectors along one axis."""
    data, scale, zero_point = op.quantized_data.val, op.scale.val, op.zero_point.val
    along = [-1 if i == op.axis.val else 1 for i in range(data.ndim)]
    scale, zero_point = (np.reshape(v, along) if v.ndim else v for v in (scale, zero_point))
    return (data.astype(scale.dtype) - zero_point.astype(scale.dtype)) * scale


def _blockwise_shift_scale(op):
    """(data - offset) * scale, one entry of each for each block."""
    data, scale = op.data.val, op.scale.val
    restored = data.astype(scale.dtype)
    if op.offset is not None:
        restored -= _repeated(op.offset.val, data.shape).astype(scale.dtype)
    return restored * _repeated(scale, data.shape)


def _repeated(parameter, shape):
    for axis, length in enumerate(shape):
        parameter = np.repeat(parameter, length // parameter.shape[axis], axis=axis)
    return parameter


_DEQUANTIZE = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
}
