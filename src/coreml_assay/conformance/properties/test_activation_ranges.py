"""Calibration: the range each tensor takes over all samples, and the scale made of it."""

from __future__ import annotations

import itertools
import string

import numpy as np
import pytest

from coreml_assay.conformance.activation_quantizing import CONV, quantize, with_options
from coreml_assay.conformance.subject import Subject
from coreml_assay.mil.activation_samples import data
from coreml_assay.mil.pairs import Pair

KINDS = [(mode, dtype) for mode in ("linear_symmetric", "linear") for dtype in ("int8", "uint8")]


@pytest.mark.clause("A.13")
@pytest.mark.parametrize("peaks", ["8, 1", "1, 8, 2", "2, 2, 8, 8, 1, 1"])
def test_every_sample_counts(coreml_subject: Subject, peaks: str) -> None:
    found = quantize(coreml_subject, CONV, f"data({peaks})")
    alone = quantize(coreml_subject, CONV, "data(8)")
    coreml_subject.expect_equal(found.described(), alone.described(), "the program")


@pytest.mark.clause("A.13")
def test_the_lowest_and_the_highest_value_may_come_from_different_samples(
    coreml_subject: Subject,
) -> None:
    apart = "[{'x': spread(0, 3)}, {'x': spread(-1, 0)}, {'x': spread(0, 1)}]"
    found = quantize(coreml_subject, CONV, apart, with_options(mode="linear", dtype="uint8"))
    pair = found.pair_of("x_to_fp16")
    coreml_subject.expect_equal(
        (float(pair.scale), pair.zero_point), (float(np.float16(4 / 255)), 64), "scale, zero point"
    )


@pytest.mark.clause("A.14")
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
def test_the_order_of_samples_changes_nothing(coreml_subject: Subject, mode: str) -> None:
    some = "[{'x': np.random.default_rng(i).normal(size=SHAPE).astype('float32')} for i in %s]"
    expected, *others = (
        quantize(coreml_subject, CONV, some % order, with_options(mode=mode)).described()
        for order in ("(0, 1, 2)", "(2, 1, 0)", "(1, 2, 0)")
    )
    for found in others:
        coreml_subject.expect_equal(found, expected, "the program from samples in another order")


@pytest.mark.clause("A.14")
@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
def test_batching_of_samples_changes_nothing(coreml_subject: Subject, mode: str) -> None:
    options = with_options(mode=mode)
    one_by_one = quantize(coreml_subject, CONV, "data(1, 8, 2, 4)", options).pairs()
    joined = "[{'x': np.concatenate([one['x'] for one in data(1, 8, 2, 4)])}]"
    at_once = quantize(coreml_subject, "program(one_conv, [(4, 3, 8, 8)])", joined, options).pairs()
    coreml_subject.expect_equal(one_by_one, at_once, "the scales and zero points")


# Ranges whose scales float16 arithmetic gets right, so that its shortcomings do not matter.
RANGES = [(-2, 2), (-1, 3), (0, 2), (-2, 0), (1, 3), (-96, 32)]


def _every_range(subject: Subject, mode: str, dtype: str) -> list[tuple[Pair, float, float]]:
    """A program with an input for each range, and how its inputs are quantized."""
    # An average over one element leaves what it takes as it is.
    model = (
        "program(lambda *xs: [mb.avg_pool(x=x, kernel_sizes=[1, 1], pad_type='valid') for x in xs],"
        f" inputs={{f'x{{i}}': placeholder((1, 1, 1, 2)) for i in range({len(RANGES)})}})"
    )
    samples = (
        f"[{{f'x{{i}}': np.array(ends, np.float32).reshape(1, 1, 1, 2)"
        f" for i, ends in enumerate({RANGES})}}]"
    )
    found = quantize(subject, model, samples, with_options(mode=mode, dtype=dtype))
    return [(found.pair_of(f"x{i}_to_fp16"), low, high) for i, (low, high) in enumerate(RANGES)]


def _above_lowest(pair: Pair) -> int:
    """The zero point from the lowest code on; uint8 and int8 are written in one another's place."""
    return pair.zero_point - (-128 if pair.codes == "int8" else 0)


@pytest.mark.clause("A.15")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_symmetric_scale_spreads_the_codes_over_the_largest_magnitude(
    coreml_subject: Subject, dtype: str
) -> None:
    for pair, low, high in _every_range(coreml_subject, "linear_symmetric", dtype):
        scale = np.float16(max(-low, high) / 127)
        coreml_subject.expect_equal(pair.scale, scale, f"the scale of the range {low} to {high}")
        middle = 0 if pair.codes == "int8" else 127
        coreml_subject.expect_equal(pair.zero_point, middle, "the zero point")


@pytest.mark.clause("A.16")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_linear_scale_spreads_the_codes_over_the_range_and_zero(
    coreml_subject: Subject, dtype: str
) -> None:
    for pair, low, high in _every_range(coreml_subject, "linear", dtype):
        low, high = min(low, 0), max(high, 0)
        scale = np.float16((high - low) / 255)
        coreml_subject.expect_equal(pair.scale, scale, f"the scale of the range {low} to {high}")
        zero = round(-low * 255 / (high - low))
        coreml_subject.expect_equal(_above_lowest(pair), zero, "the code of zero from the lowest")


@pytest.mark.clause("A.17")
@pytest.mark.parametrize(("mode", "dtype"), KINDS)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_scales_have_the_dtype_of_what_they_scale(
    coreml_subject: Subject, precision: str, mode: str, dtype: str
) -> None:
    model = f"program(conv_and_softmax, dtype={precision!r})"
    found = quantize(coreml_subject, model, "data(1)", with_options(mode=mode, dtype=dtype))
    for pair in found.pairs():
        expected = "float16" if precision == "fp16" else "float32"
        coreml_subject.expect_equal(
            str(pair.scale.dtype), expected, f"the dtype of the scale of {pair.tensor}"
        )


@pytest.mark.clause("A.17")
def test_a_float32_scale_is_float32s_own(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, "program(one_conv, dtype='fp32')", "data(3)")
    coreml_subject.expect_equal(
        found.pair_of("x").scale, np.float32(3) / np.float32(127), "the scale of the input"
    )


@pytest.mark.clause("A.18")
@pytest.mark.parametrize("peak", ["1e-7", "1e-5", "4e4", "1e5", "1e8"])
def test_any_magnitude_has_a_finite_scale_above_zero(coreml_subject: Subject, peak: str) -> None:
    for mode in ("linear_symmetric", "linear"):
        found = quantize(coreml_subject, CONV, f"data({peak})", with_options(mode=mode))
        scales = [float(pair.scale) for pair in found.pairs()]
        coreml_subject.expect(
            len(scales) == 2 and all(0 < scale < np.inf for scale in scales),
            "a scale is zero or not finite",
            expected="two finite scales above zero",
            found=scales,
        )


@pytest.mark.clause("A.18")
@pytest.mark.parametrize(("low", "high"), [(-400, 300), (-1000, 24), (-3000.5, 2000.25)])
def test_a_zero_point_is_the_code_nearest_to_zero_in_wide_ranges(
    coreml_subject: Subject, low: float, high: float
) -> None:
    samples = f"[{{'x': spread({low}, {high})}}]"
    found = quantize(coreml_subject, CONV, samples, with_options(mode="linear", dtype="uint8"))
    pair = found.pair_of("x_to_fp16")
    zero = round(-low * 255 / (high - low))
    coreml_subject.expect_equal(pair.zero_point, zero, f"the zero point of {low} to {high}")


@pytest.mark.clause("A.18")
def test_activations_beyond_float16_are_calibrated(coreml_subject: Subject) -> None:
    """Values of 1e5 and more inside a float16 program, from an ordinary input."""
    body = (
        "lambda x: conv(mb.mul(x=mb.mul(x=x, y=np.float16(1000), name='m'), y=np.float16(100),"
        " name='wide'), 'a')"
    )
    found = quantize(coreml_subject, f"program({body})", "data(1)")
    pair = found.pair_of("wide")
    coreml_subject.expect_equal(pair.scale, np.float16(1e5 / 127), "the scale of 1e5")


@pytest.mark.clause("A.19")
@pytest.mark.parametrize(("mode", "dtype"), KINDS)
def test_a_tensor_of_zeros_stays_zeros(coreml_subject: Subject, mode: str, dtype: str) -> None:
    for precision in ("fp16", "fp32"):
        model = f"program(one_conv, dtype={precision!r})"
        found = quantize(coreml_subject, model, "data(0)", with_options(mode=mode, dtype=dtype))
        (output,) = found.evaluate(data(0)[0])
        coreml_subject.expect(
            bool((output == 0).all()), "zeros become something else", expected=0, found=output
        )


@pytest.mark.clause("A.20")
def test_a_tensor_with_infinities_is_left(coreml_subject: Subject) -> None:
    body = "lambda x: conv(mb.exp(x=mb.mul(x=x, y=np.float16(100), name='m'), name='e'), 'a')"
    found = quantize(coreml_subject, f"program({body})", "data(2)")
    coreml_subject.expect_equal(found.quantized(), [], "the tensors quantized")


@pytest.mark.clause("A.21")
def test_what_is_concatenated_shares_one_range(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, "program(concats_with_others)", "data(1)")
    scale = found.pair_of("narrow").scale
    coreml_subject.expect_equal(scale, np.float16(64 / 127), "the scale of the narrower input")


@pytest.mark.clause("A.21")
def test_the_result_of_a_concat_has_the_scale_of_its_inputs(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, "program(concatenated)", "data(1)")
    scales = {pair.tensor: float(pair.scale) for pair in found.pairs()}
    shared = {scales[name] for name in ("a", "r", "cat") if name in scales}
    coreml_subject.expect_equal(len(shared), 1, "the number of different scales around the concat")


@pytest.mark.clause("A.22")
def test_concats_in_a_chain_share_one_range(coreml_subject: Subject) -> None:
    """32 concats, each of which has an input in common with the next, in shuffled order.

    coremltools goes through them in the order of a set, which is another each time: only one
    order in some 100,000 joins so many by chance.
    """
    letters = string.ascii_letters.replace("x", "")[:33]  # x is the input
    chain = [first + second for first, second in itertools.pairwise(letters)]
    shuffled = [chain[i] for i in np.random.default_rng(0).permutation(len(chain))]
    found = quantize(coreml_subject, f"chained_concats({shuffled})", "data(1)")
    # The first, the middle and the last are quantized themselves.
    shared = {float(found.pair_of(letter).scale) for letter in sorted(letters)[::16]}
    coreml_subject.expect_equal(len(shared), 1, "the number of different scales in the chain")
