"""Axes and blocks in models: where scales lie, for every op that consumes a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from hypothesis import assume, given
from hypothesis import strategies as st

from coreml_assay.conformance.quantizing import (
    everywhere,
    quantize_model,
    quantize_weights,
    read,
    replay_error,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.mil.samples import CHANNELS, Weight, model_of, placeholder
from coreml_assay.mil.stored import StoredWeight
from coreml_assay.numerics.blocks import Array

PLACES = [
    (consumer, rank) for consumer, (ranks, _) in CHANNELS.items() for rank in ranks if rank >= 2
]
places = pytest.mark.parametrize(
    ("consumer", "rank"), PLACES, ids=[f"{consumer}-{rank}" for consumer, rank in PLACES]
)


def _weight(rank: int) -> Array:
    shape = (4, 6, 2, 8, 2)[:rank]
    return np.random.default_rng(rank).standard_normal(shape).astype(np.float32)


def _axes(consumer: str, rank: int) -> tuple[int, int]:
    output, input_ = CHANNELS[consumer][1]
    return output % rank, input_ % rank


def _scale_shape(stored: StoredWeight) -> tuple[int, ...] | None:
    return None if stored.scale is None else stored.scale.shape


@pytest.mark.clause("W.5")
@places
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_per_channel_scales_lie_along_the_output_channels(
    coreml_subject: Subject, consumer: str, rank: int, target: str
) -> None:
    weight = _weight(rank)
    stored = quantize_weights(
        coreml_subject, [Weight("w", weight, consumer)], target, everywhere()
    )["w"]
    output, _ = _axes(consumer, rank)
    expected = tuple(weight.shape[axis] if axis == output else 1 for axis in range(rank))
    coreml_subject.expect_equal(
        _scale_shape(stored), expected, f"the shape of the scales of a weight of {consumer}"
    )


@pytest.mark.clause("W.6")
@places
def test_per_tensor_there_is_one_scale(coreml_subject: Subject, consumer: str, rank: int) -> None:
    options = everywhere(granularity="per_tensor")
    weights = [Weight("w", _weight(rank), consumer)]
    stored = quantize_weights(coreml_subject, weights, "iOS18", options)["w"]
    coreml_subject.expect_equal(_scale_shape(stored), (1,) * rank, "the shape of the scale")


@pytest.mark.clause("W.7")
@places
def test_per_block_scales_lie_along_output_and_input_channels(
    coreml_subject: Subject, consumer: str, rank: int
) -> None:
    weight = _weight(rank)
    output, input_ = _axes(consumer, rank)
    options = everywhere(granularity="per_block", block_size=2)
    stored = quantize_weights(coreml_subject, [Weight("w", weight, consumer)], "iOS18", options)[
        "w"
    ]
    expected = [1] * rank
    expected[input_] = weight.shape[input_] // 2
    expected[output] = weight.shape[output]
    coreml_subject.expect_equal(_scale_shape(stored), tuple(expected), "the shape of the scales")


@pytest.mark.clause("W.7")
def test_a_block_size_of_zero_is_the_whole_input_axis(coreml_subject: Subject) -> None:
    options = everywhere(granularity="per_block", block_size=0)
    weights = [Weight("w", _weight(4), "conv")]
    stored = quantize_weights(coreml_subject, weights, "iOS18", options)["w"]
    coreml_subject.expect_equal(_scale_shape(stored), (4, 1, 1, 1), "the shape of the scales")


@pytest.mark.clause("W.8")
@given(data=st.data())
def test_a_sequence_gives_the_block_size_of_each_axis(
    coreml_subject: Subject, data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    sizes = data.draw(st.tuples(*[st.sampled_from([0, 2, 3])] * len(counts)))
    shape = [count * (size or 4) for count, size in zip(counts, sizes, strict=True)]
    assume(np.prod(shape) >= 10)  # smaller constants are not weights
    weight = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    kind = data.draw(st.sampled_from([list, tuple]))
    options = everywhere(granularity="per_block", block_size=kind(sizes))
    stored = quantize_weights(coreml_subject, [Weight("w", weight, "add")], "iOS18", options)["w"]
    expected = tuple(count if size else 1 for count, size in zip(counts, sizes, strict=True))
    coreml_subject.expect_equal(_scale_shape(stored), expected, "the shape of the scales")


@pytest.mark.clause("W.8")
@pytest.mark.parametrize("block_size", [[1, 2, 0], [2], []], ids=["long", "short", "empty"])
def test_a_sequence_of_another_length_is_refused(
    coreml_subject: Subject, block_size: list[int]
) -> None:
    options = everywhere(granularity="per_block", block_size=block_size)
    weights = [Weight("w", _weight(2), "linear")]
    coreml_subject.expect_raises(
        ValueError, replay_error(coreml_subject, weights, "iOS18", options)
    )


@pytest.mark.clause("W.9")
@pytest.mark.parametrize("block_size", [4, 13, [0, 4], [3, 0]], ids=["4", "13", "input", "output"])
def test_blocks_that_do_not_divide_leave_the_weight(
    coreml_subject: Subject, block_size: int | list[int]
) -> None:
    weight = _weight(2)
    options = everywhere(granularity="per_block", block_size=block_size)
    stored = quantize_weights(coreml_subject, [Weight("w", weight, "linear")], "iOS18", options)[
        "w"
    ]
    coreml_subject.expect_equal(stored.op_type, "const", "what stands for the weight")
    coreml_subject.expect_equal(stored.values, weight, "the weight")


@pytest.mark.clause("W.18")
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_a_weight_with_two_kinds_of_consumers_is_left(
    coreml_subject: Subject, granularity: str
) -> None:
    weight = _weight(4)

    def body(x: Any, y: Any) -> list[Any]:
        shared = mb.const(val=weight, name="w")
        return [
            mb.conv(x=x, weight=shared, name="out"),
            mb.conv_transpose(x=y, weight=shared, name="back"),
        ]

    inputs = {"x": placeholder((1, 6, 9, 9)), "y": placeholder((1, 4, 9, 9))}
    model = model_of(inputs, body, "iOS18")
    options = everywhere(granularity=granularity)
    stored = read(coreml_subject, quantize_model(coreml_subject, model, options))["w"]
    coreml_subject.expect_equal(stored.op_type, "const", "what stands for the shared weight")


@pytest.mark.clause("W.5")
def test_a_weight_shared_by_ops_of_one_kind_is_quantized_once(coreml_subject: Subject) -> None:
    def body(x: Any, y: Any) -> list[Any]:
        shared = mb.const(val=_weight(2), name="w")
        return [mb.linear(x=v, weight=shared, name=f"{v.name}_out") for v in (x, y)]

    model = model_of({"x": placeholder((2, 6)), "y": placeholder((3, 6))}, body, "iOS18")
    stored = read(coreml_subject, quantize_model(coreml_subject, model, everywhere()))
    coreml_subject.expect_equal(_scale_shape(stored["w"]), (4, 1), "the shape of the scales")
