"""Functions of torch, converted by coremltools and evaluated, against torch itself.

The converter was written by people who compare its results with Core ML, so that agreement here
says that operations are read as it reads them.
"""

from __future__ import annotations

import coremltools as ct
import pytest
import torch
from mil_helpers import IOS16, IOS18, assert_close, normal
from torch.nn import functional

from coreml_assay.mil.evaluator import Evaluator

# Tracing and conversion warn about versions and about shapes that become constants.
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGE = (2, 4, 6, 8)
MATRIX = (3, 5, 4)
INDEX = torch.tensor([[[0, 2, 1, 1]], [[1, 0, 0, 2]], [[2, 2, 0, 1]]])

FUNCTIONS = {
    "adaptive average": (IMAGE, lambda x: functional.adaptive_avg_pool2d(x, (3, 2))),
    "addmm": (MATRIX, lambda x: torch.baddbmm(x @ x.transpose(1, 2), x, x.transpose(1, 2))),
    "argmax": (MATRIX, lambda x: torch.argmax(x, 1)),
    "argsort": (MATRIX, lambda x: torch.argsort(x, 1, descending=True)),
    "average with ceiling": (
        IMAGE,
        lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    ),
    "bilinear upsampling": (
        IMAGE,
        lambda x: functional.interpolate(x, (9, 5), mode="bilinear", align_corners=True),
    ),
    "broadcast": (MATRIX, lambda x: x[:, :1].expand(-1, 5, -1) + x),
    "chunk": (MATRIX, lambda x: torch.cat(torch.chunk(x, 2, 2)[::-1], 2)),
    "clamp": (MATRIX, lambda x: torch.clamp(x, -0.5, 0.5)),
    "comparison": (MATRIX, lambda x: torch.logical_or((x > 0) & (x < 1), x < -1).float()),
    "convolution in 1-D": (
        (2, 4, 9),
        lambda x: functional.conv1d(x, torch.ones(6, 2, 3), stride=2, padding=1, groups=2),
    ),
    "cumulative sum": (MATRIX, lambda x: torch.cumsum(x, 1)),
    "distance": (MATRIX, lambda x: torch.norm(x, p=2, dim=-1)),
    "einsum": (IMAGE, lambda x: torch.einsum("nchw,ndhw->ncd", x, x)),
    "error function": (MATRIX, torch.erf),
    "flip": (MATRIX, lambda x: torch.flip(x, (0, 2))),
    "floor division": (MATRIX, lambda x: torch.floor_divide(x, 0.3)),
    "full": (MATRIX, lambda x: torch.full_like(x, 2.5) * x),
    "gather": (MATRIX, lambda x: torch.gather(x, 1, INDEX)),
    "gelu by tanh": (MATRIX, lambda x: functional.gelu(x, approximate="tanh")),
    "grid sample": (
        IMAGE,
        lambda x: functional.grid_sample(
            x, x[:, :2, :3, :3].permute(0, 2, 3, 1), padding_mode="border", align_corners=False
        ),
    ),
    "group norm": (IMAGE, lambda x: functional.group_norm(x, 2, torch.ones(4), torch.zeros(4))),
    "hardsigmoid": (MATRIX, functional.hardsigmoid),
    "index": (MATRIX, lambda x: x[:, torch.tensor([4, 0, 2])]),
    "index select": (MATRIX, lambda x: torch.index_select(x, 2, torch.tensor([3, 3, 0]))),
    "instance norm": (IMAGE, lambda x: functional.instance_norm(x)),
    "layer norm": (MATRIX, lambda x: functional.layer_norm(x, (5, 4))),
    "log softmax": (MATRIX, lambda x: functional.log_softmax(x, 1)),
    "logsumexp": (MATRIX, lambda x: torch.logsumexp(x, (1, 2))),
    "masked fill": (MATRIX, lambda x: x.masked_fill(x > 0.5, -2.0)),
    "maximum with ceiling": (IMAGE, lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "mean and variance": (MATRIX, lambda x: x.mean(1) / (x.var(1) + x.std(1))),
    "nearest upsampling": (IMAGE, lambda x: functional.interpolate(x, scale_factor=2.0)),
    "normalize": (MATRIX, lambda x: functional.normalize(x, dim=1)),
    "pad by reflection": (IMAGE, lambda x: functional.pad(x, (2, 1, 1, 3), mode="reflect")),
    "pad by replication": (IMAGE, lambda x: functional.pad(x, (2, 1, 1, 3), mode="replicate")),
    "pad with a constant": (IMAGE, lambda x: functional.pad(x, (2, 1, 1, 3), value=1.5)),
    "pixel shuffle": (IMAGE, lambda x: functional.pixel_shuffle(x, 2)),
    "pixel unshuffle": (IMAGE, lambda x: functional.pixel_unshuffle(x, 2)),
    "power": (MATRIX, lambda x: torch.pow(x.abs() + 0.1, 1.7)),
    "product of sizes": (MATRIX, lambda x: x.reshape(x.shape[0] * x.shape[1], -1)),
    "range": (MATRIX, lambda x: x + torch.arange(0, 2, 0.5)),
    "remainder": (MATRIX, lambda x: torch.remainder(x, 0.7)),
    "repeat": (MATRIX, lambda x: x.repeat(2, 1, 3)),
    "roll": (MATRIX, lambda x: torch.roll(x, (1, -2), (0, 1))),
    "rsqrt": (MATRIX, lambda x: torch.rsqrt(x.abs() + 0.1)),
    "scatter": (MATRIX, lambda x: torch.scatter(x, 1, INDEX, x[:, :1] * 2)),
    "scatter add": (MATRIX, lambda x: torch.scatter_add(x, 1, INDEX, x[:, :1])),
    "slices": (MATRIX, lambda x: x[:, 1:-1, ::2] - x[:, -3:, 1::2]),
    "sort": (MATRIX, lambda x: torch.sort(x, 1)[0]),
    "split": (MATRIX, lambda x: torch.cat(torch.split(x, [2, 3], 1)[::-1], 1)),
    "stack": (MATRIX, lambda x: torch.stack([x, -x], 1)),
    "top": (MATRIX, lambda x: torch.topk(x, 3, dim=1)[0]),
    "triangle": (MATRIX, lambda x: torch.tril(x, 1) + torch.triu(x)),
    "unfold": (IMAGE, lambda x: functional.unfold(x, 3, padding=1, stride=2)),
    "where": (MATRIX, lambda x: torch.where(x > 0, x, x * x)),
}


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# From iOS17 on indices are converted in another way, as negative ones are no longer allowed.
INDEXING = ["gather", "index", "index select", "roll", "scatter", "scatter add", "slices", "top"]


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, IOS18) for name in FUNCTIONS), *((name, IOS16) for name in INDEXING)],
)
def test_converted_functions_equal_torch(name, target):
    shape, function = FUNCTIONS[name]
    x = normal(*shape)
    model = ct.convert(
        torch.jit.trace(Function(function).eval(), torch.from_numpy(x), check_trace=False),
        inputs=[ct.TensorType(name="x", shape=shape)],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=target,
        skip_model_load=True,
    )
    (found,) = Evaluator(model._mil_program).predict({"x": x}).values()
    assert_close(found, function(torch.from_numpy(x)), 2e-6)
