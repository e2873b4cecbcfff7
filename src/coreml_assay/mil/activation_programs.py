"""Programs that show where quantize/dequantize pairs go, by name; bodies for `program`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from coreml_assay.mil.activation_samples import SHAPE, Body, conv, linear, pool, program
from coreml_assay.mil.program import Model


def one_conv(x: Any) -> Any:
    """A convolution, ``a``."""
    return conv(x, "a")


def two_convs(x: Any) -> Any:
    """Two of them in a row."""
    return conv(conv(x, "a"), "b")


def activated(activation: Body) -> Body:
    """A convolution and one op after it, ``act``, its input wide enough to saturate."""
    return lambda x: activation(x=conv(mb.mul(x=x, y=np.float16(64), name="m"), "a"), name="act")


def branches(x: Any) -> list[Any]:
    """A convolution that feeds two."""
    a = conv(x, "a")
    return [conv(a, "b", seed=2), conv(a, "c", seed=3)]


def concatenated(x: Any) -> Any:
    """Two convolutions, concatenated, that feed a third."""
    halves = [conv(x, "a"), mb.relu(x=conv(x, "b", seed=2), name="r")]
    return conv(mb.concat(values=halves, axis=1, name="cat"), "c", seed=3)


def activation_and_more(x: Any) -> list[Any]:
    """A convolution that feeds an activation and something else."""
    a = conv(x, "a")
    return [mb.relu(x=a, name="r"), mb.softmax(x=a, axis=1, name="s")]


def residual(x: Any) -> Any:
    """A convolution around which its input is led and added."""
    return mb.relu(x=mb.add(x=conv(x, "a", channels=3), y=x, name="sum"), name="r")


PROGRAMS: dict[str, Body] = {
    "conv": one_conv,
    "conv, relu": lambda x: mb.relu(x=conv(x, "a"), name="r"),
    "conv, conv": two_convs,
    "conv, leaky_relu": lambda x: mb.leaky_relu(x=conv(x, "a"), alpha=0.5, name="r"),
    "conv, tanh": activated(mb.tanh),
    "conv, sigmoid": activated(mb.sigmoid),
    "conv, clip, conv": lambda x: conv(
        mb.clip(x=conv(x, "a"), alpha=np.float16(0), beta=np.float16(6), name="r"), "b"
    ),
    "conv, softmax": lambda x: mb.softmax(x=conv(x, "a"), axis=1, name="s"),
    "linear, relu": lambda x: mb.relu(x=linear(x, "a"), name="r"),
    "linear, linear": lambda x: linear(linear(x, "a"), "b"),
    "avg_pool": pool,
    "conv, max_pool": lambda x: mb.max_pool(
        x=conv(x, "a"), kernel_sizes=[2, 2], pad_type="valid", name="p"
    ),
    "conv, relu, avg_pool": lambda x: pool(mb.relu(x=conv(x, "a"), name="r")),
    "conv, transpose, conv": lambda x: conv(
        mb.transpose(x=conv(x, "a"), perm=[0, 1, 3, 2], name="t"), "b"
    ),
    "matmul of two": lambda x: mb.matmul(
        x=conv(x, "a"), y=conv(x, "b", seed=2), transpose_y=True, name="m"
    ),
    "residual": residual,
    "x + x": lambda x: mb.add(x=x, y=x, name="sum"),
    "add, add": lambda x: mb.add(
        x=mb.add(x=x, y=x, name="s"), y=conv(x, "a", channels=3), name="t"
    ),
    "branches": branches,
    "an activation and more": activation_and_more,
    "concat": concatenated,
}
"""Those that golden files were made of."""

EVERY_WAY = ("conv", "conv, relu", "conv, conv", "residual", "branches", "concat")
"""Those of which there is one for each mode and dtype, where pairs are shared and cancelled."""


def chained_concats(order: Sequence[str]) -> Model:
    """Concats of two tensors each, some of which share one.

    The first tensor, the middle one and the last are convolutions, which are quantized; the others
    are products. Each has a larger magnitude than the one before.

    Args:
        order: of the concats, each the letters of its tensors, for example ``ab``, ``cd``, ``bc``.
    """
    letters = sorted(set("".join(order)))
    quantized = {letters[0], letters[len(letters) // 2], letters[-1]}

    def part(x: Any, name: str, factor: int) -> Any:
        if name in quantized:
            weight = np.eye(3, dtype=np.float16).reshape(3, 3, 1, 1) * np.float16(factor)
            return mb.conv(x=x, weight=weight, name=name)
        return mb.mul(x=x, y=np.float16(factor), name=name)

    def body(x: Any) -> list[Any]:
        parts = {name: part(x, name, i) for i, name in enumerate(letters, start=1)}
        return [
            mb.concat(values=[parts[name] for name in pair], axis=1, name=f"cat_{pair}")
            for pair in order
        ]

    return program(body)


def concats_with_others(x: Any) -> list[Any]:
    """A concat with a tensor that no quantized op takes, and one of integers."""
    narrow = mb.relu(x=conv(x, "a"), name="narrow")
    wide = mb.mul(x=x, y=np.float16(64), name="wide")
    whole = mb.cast(x=x, dtype="int32", name="whole")
    return [
        mb.softmax(x=mb.concat(values=[narrow, wide], axis=1, name="cat"), axis=1, name="s"),
        mb.cast(x=mb.concat(values=[whole, whole], axis=1), dtype="fp16", name="f"),
    ]


def _is_positive(x: Any) -> Any:
    total = mb.reduce_sum(x=x, axes=[0, 1, 2, 3], keep_dims=False, name="total")
    return mb.greater(x=total, y=np.float16(0), name="positive")


def with_branches(x: Any) -> Any:
    """A condition with convolutions before it, in it and after it."""
    first = conv(x, "before")
    chosen = mb.cond(
        pred=_is_positive(x),
        _true_fn=lambda: mb.relu(x=conv(first, "yes"), name="yes_r"),
        _false_fn=lambda: conv(mb.relu(x=conv(first, "no"), name="no_r"), "never"),
        name="chosen",
    )
    return mb.softmax(x=conv(chosen, "after"), axis=1, name="s")


def only_branches(x: Any) -> Any:
    """A condition with nothing to quantize."""
    return mb.cond(
        pred=_is_positive(x),
        _true_fn=lambda: mb.relu(x=x, name="yes"),
        _false_fn=lambda: mb.tanh(x=x, name="no"),
        name="chosen",
    )


def with_loop(x: Any) -> Any:
    """A convolution in a loop of three rounds, each with values 16 times as large as tanh's."""

    def double(count: Any, value: Any) -> tuple[Any, Any]:
        inner = conv(value, "inside", channels=3)
        return mb.add(x=count, y=1, name="next"), mb.mul(
            x=mb.tanh(x=inner, name="t"), y=np.float16(16), name="doubled"
        )

    return mb.while_loop(
        _cond=lambda count, value: mb.less(x=count, y=3, name="goes_on"),
        _body=double,
        loop_vars=(np.int32(0), x),
        name="loop",
    )[1]


def with_integers(x: Any) -> Any:
    """Integer addition beside a convolution, as in the index arithmetic of transformers."""
    i = mb.cast(x=x, dtype="int32", name="i")
    sums = mb.add(x=i, y=i, name="ii")
    return mb.add(x=conv(x, "a", 3), y=mb.cast(x=sums, dtype="fp16", name="f"), name="sum")


def output_in_the_middle(x: Any) -> list[Any]:
    """The relu is an output of the model and the input of a convolution; for dtype fp32."""
    r = mb.relu(x=conv(x, "a"), name="r")
    return [r, conv(r, "b")]


def conv_and_softmax(x: Any) -> Any:
    """A convolution whose result a softmax takes."""
    return mb.softmax(x=conv(x, "a"), axis=1, name="s")


def classifier() -> Model:
    """A model that answers with one of four labels."""

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def body(x: Any) -> Any:
        scores = mb.reduce_mean(x=conv(x, "a"), axes=[0, 2, 3], keep_dims=False, name="scores")
        return mb.softmax(x=scores, axis=0, name="probabilities")

    return ct.convert(
        body,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        classifier_config=ct.ClassifierConfig(list("abcd")),
        skip_model_load=True,
    )


def of_images(layout: str = "RGB") -> Model:
    """A model whose input is an image of 8 by 8, scaled by 1/4 and shifted by -1.

    Args:
        layout: a name of coremltools' color layouts.
    """
    shape = (1, 1 if layout.startswith("GRAYSCALE") else 3, 8, 8)

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)
    def body(x: Any) -> Any:
        return mb.softmax(x=conv(x, "a"), axis=1, name="s")

    bias = -1.0 if shape[1] == 1 else [-1.0, -1.0, -1.0]
    image = ct.ImageType("x", shape, scale=1 / 4, bias=bias, color_layout=ct.colorlayout[layout])
    return ct.convert(
        body,
        convert_to="mlprogram",
        inputs=[image],
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
