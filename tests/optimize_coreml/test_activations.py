"""What quantization of activations does, and where coremltools 9.0 does otherwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from activation_helpers import (
    SHAPE,
    conv,
    data,
    ignore_noise,
    integers,
    one_conv,
    op_types,
    plain,
    program,
    quantize,
    quantize_by_coremltools,
    samples,
    scales,
    signal_to_noise,
)
from coremltools.converters.mil.mil import Builder as mb
from coremltools.optimize.coreml.experimental._post_training_quantization import (
    _combine_lists_with_common_elements,
)

from coreml_assay.mil.activation_programs import (
    chained_concats,
    concats_with_others,
    conv_and_softmax,
    only_branches,
    output_in_the_middle,
    with_branches,
    with_integers,
    with_loop,
)
from coreml_assay.mil.describe import describe
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.pairs import pairs
from coreml_assay.mil.program import load_program
from coreml_assay.optimize.coreml import (
    CompressionReport,
    OpLinearQuantizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
)

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]


def evaluate(model, sample):
    return next(iter(Evaluator(load_program(model)).predict(sample).values()))


def zero_points(model):
    return [pair.zero_point for pair in pairs(load_program(model))]


# --- every sample counts ---


def test_all_samples_count_where_coremltools_counts_the_last():
    wide_then_narrow = data(8, 1)
    ours = scales(quantize(plain(), wide_then_narrow))
    theirs = scales(quantize_by_coremltools(plain(), wide_then_narrow))
    assert ours["x_to_fp16"] == np.float16(8 / 127)
    assert theirs["x_to_fp16"] == np.float16(1 / 127)
    assert ours["a"] == 8 * theirs["a"]


@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
def test_order_of_samples_changes_nothing(mode):
    rng = np.random.default_rng(3)
    some = [{"x": rng.standard_normal(SHAPE).astype(np.float32)} for _ in range(3)]
    expected = describe(load_program(quantize(plain(), some, mode=mode)))
    for order in itertools.permutations(some):
        assert describe(load_program(quantize(plain(), order, mode=mode))) == expected


def test_batching_of_samples_changes_nothing():
    def body(x):
        return mb.relu(x=conv(x, "a"), name="r")

    parts = data(1, 8, 2, 4)
    joined = [{"x": np.concatenate([part["x"] for part in parts])}]
    one_by_one = quantize(program(body), parts)
    at_once = quantize(program(body, [(4, 3, 8, 8)]), joined)
    assert scales(one_by_one) == scales(at_once)


def test_a_generator_gives_what_a_list_gives():
    some = data(1, 8, 2)
    assert describe(load_program(quantize(plain(), (s for s in some)))) == describe(
        load_program(quantize(plain(), some))
    )


def test_two_calls_give_the_same_program():
    assert describe(load_program(quantize(plain()))) == describe(load_program(quantize(plain())))


# --- ranges and scales ---


def test_range_keeps_its_precision_where_coremltools_rounds_it_to_fp16():
    lopsided = np.zeros(SHAPE, np.float32)
    lopsided[0, 0, 0, 0], lopsided[0, 0, 0, 1] = -400, 300
    model, some = program(one_conv), [{"x": lopsided}]
    assert zero_points(quantize(model, some, "linear", "uint8"))[0] == 146
    assert zero_points(quantize_by_coremltools(model, some, "linear", "uint8"))[0] == 255


@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
@pytest.mark.parametrize("peak", [1e-7, 1e-5, 4e4, 1e5, 1e8])
def test_scale_is_positive_and_finite_at_any_magnitude(peak, mode):
    for scale in scales(quantize(plain(), data(peak), mode)).values():
        assert scale.dtype == np.float16
        assert 0 < scale < np.inf


def test_wide_range_is_finite_where_coremltools_has_infinite_scales():
    wide = data(4e4)
    assert scales(quantize(plain(), wide))["x_to_fp16"] == np.float16(4e4 / 127)
    with np.errstate(all="ignore"):
        theirs = scales(quantize_by_coremltools(plain(), wide))
    assert np.isinf(theirs["x_to_fp16"])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_zeros_alone_are_quantized_to_zeros(precision, mode, dtype):
    model = program(conv_and_softmax, dtype=precision)
    quantized = quantize(model, data(0), mode, dtype)
    assert set(scales(quantized).values()) == {1}
    sample = data(0)[0]
    np.testing.assert_array_equal(evaluate(quantized, sample), evaluate(model, sample))


def test_zeros_alone_abort_coremltools():
    with pytest.raises(ValueError, match="scale cannot be 0"):
        quantize_by_coremltools(plain(), data(0), "linear")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
def test_scales_of_a_float32_program_are_float32(mode, dtype):
    model = program(conv_and_softmax, dtype="fp32")
    found = scales(quantize(model, data(1, 3), mode, dtype))
    assert list(found) == ["x", "a"]
    assert {scale.dtype for scale in found.values()} == {np.dtype(np.float32)}
    if mode == "linear_symmetric":
        assert found["x"] == np.float32(3) / np.float32(127)


def test_float32_program_aborts_coremltools():
    model = program(conv_and_softmax, dtype="fp32")
    with pytest.raises(ValueError, match="scale has dtype fp16 whereas input has dtype fp32"):
        quantize_by_coremltools(model)


# --- which ops ---


def test_concats_in_a_chain_share_one_range():
    found = scales(quantize(chained_concats(["ab", "cd", "bc"])))
    joined = [found[name] for name in "acd"]
    assert len(set(joined)) == 1


def test_concat_shares_the_range_of_tensors_that_are_not_quantized_themselves():
    model = program(concats_with_others)
    assert scales(quantize(model, data(1)))["narrow"] == np.float16(64 / 127)
    assert scales(quantize_by_coremltools(model, data(1)))["narrow"] == np.float16(64 / 127)


def test_order_of_concats_changes_nothing():
    expected = scales(quantize(chained_concats(["ab", "bc", "cd"])))
    found = scales(quantize(chained_concats(["ab", "cd", "bc"])))
    assert {name: found[name] for name in "acd"} == {name: expected[name] for name in "acd"}


def test_concats_in_a_chain_are_not_merged_in_coremltools():
    # End to end it depends on the order in which coremltools meets the concats: that of a set.
    groups = _combine_lists_with_common_elements([["a", "b"], ["c", "d"], ["b", "c"]])
    assert groups == [{"a", "b", "c"}, {"c", "d"}]


def test_nested_blocks_are_quantized():
    report = CompressionReport()
    both_ways = [{"x": sign * np.abs(integers(*SHAPE))} for sign in (1, -1)]
    model = program(with_branches)
    quantized = quantize(model, both_ways, report=report)
    assert list(report.activations) == ["yes", "no", "never", "before", "after"]
    for sample in both_ways:
        assert signal_to_noise(evaluate(model, sample), evaluate(quantized, sample)) > 20


def test_branch_that_no_sample_takes_is_left_and_named():
    report = CompressionReport()
    quantize(program(with_branches), [{"x": np.abs(integers(*SHAPE))}], report=report)
    assert list(report.activations) == ["yes", "no", "before", "after"]
    assert report.activations_skipped == {"never": "calibration saw no value of its input no_r"}


def test_loops_are_quantized_with_the_ranges_of_all_rounds():
    report = CompressionReport()
    quantize(program(with_loop), data(1), report=report)
    low, high = next(iter(report.activations["inside"].ranges.values()))
    assert max(-low, high) == 16  # the first round has 1
    assert "int32" in report.activations_skipped["next"]


def test_weights_may_be_quantized_first():
    model = program(lambda x: conv(conv(x, "a", channels=64), "b", channels=64))
    expected = quantize(model)
    weights_first = linear_quantize_weights(model, OptimizationConfig(OpLinearQuantizerConfig()))
    found = quantize(weights_first, samples(model))
    assert sorted(scales(found)) == sorted(scales(expected))
    assert [op for op in op_types(found) if "constexpr" not in op] == op_types(expected)


def test_nested_blocks_abort_coremltools():
    assert op_types(quantize(program(only_branches))) == op_types(program(only_branches))
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        quantize_by_coremltools(program(only_branches))


def test_output_that_also_feeds_an_op_is_calibrated():
    model = program(output_in_the_middle, dtype="fp32")
    quantized = quantize(model)
    assert set(scales(quantized)) == {"x", "r"}
    assert [feature.name for feature in quantized.get_spec().description.output] == ["r", "b"]
    plain_r = Evaluator(load_program(model)).predict(samples(model)[0])["r"]
    r = Evaluator(load_program(quantized)).predict(samples(model)[0])["r"]
    assert signal_to_noise(plain_r, r) > 30


def test_output_that_also_feeds_an_op_aborts_coremltools():
    with pytest.raises(KeyError, match="rmin"):
        quantize_by_coremltools(program(output_in_the_middle, dtype="fp32"))


def test_integer_tensors_are_left_alone():
    report = CompressionReport()
    quantized = quantize(program(with_integers), report=report)
    assert {name: "int32" in reason for name, reason in report.activations_skipped.items()} == {
        "ii": True
    }
    assert list(report.activations) == ["a", "sum"]
    assert "i" not in scales(quantized)


def test_integer_addition_aborts_coremltools():
    with pytest.raises(ValueError, match="int32"):
        quantize_by_coremltools(program(with_integers))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
def test_each_tensor_is_quantized_once_however_many_consume_it(mode, dtype):
    def body(x):
        a = conv(x, "a")
        return [conv(a, "b", seed=2), conv(a, "c", seed=3)]

    quantized = op_types(quantize(program(body), mode=mode, dtype=dtype))
    assert quantized.count("quantize") == 4  # x, a, b, c
