"""The report of a quantization: every candidate once, with the reason where it was left."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from coreml_assay.mil.samples import Weight, build_model
from coreml_assay.optimize.coreml import (
    CompressedWeight,
    CompressionReport,
    OpLinearQuantizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
)

rng = np.random.default_rng(0)


def w(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def with_value(value):
    weight = w(8, 8)
    weight[3, 3] = value
    return weight


WEIGHTS = [
    Weight("good", w(8, 12), "linear"),
    Weight("small", w(4, 4), "linear"),
    Weight("vector", w(40), "add"),
    Weight("with_nan", with_value(np.nan), "linear"),
    Weight("with_infinity", with_value(-np.inf), "linear"),
    Weight("left_out", w(8, 8), "linear"),
    Weight("other", w(8, 9), "matmul_y"),
    Weight("tiny", w(2, 2), "linear"),  # fewer than ten elements: no candidate
]


def quantize(config, target="iOS18", weights=WEIGHTS):
    report = CompressionReport()
    linear_quantize_weights(build_model(weights, target), config, report=report)
    return report


@pytest.fixture(scope="module")
def report():
    config = OptimizationConfig(
        OpLinearQuantizerConfig(weight_threshold=20),
        op_name_configs={"left_out": None},
        op_type_configs={
            "matmul": OpLinearQuantizerConfig("linear", "uint4", "per_block", 4, weight_threshold=0)
        },
    )
    return quantize(config)


def test_every_candidate_appears_exactly_once(report):
    assert not report.compressed.keys() & report.skipped.keys()
    assert report.compressed.keys() | report.skipped.keys() == {
        each.name for each in WEIGHTS if each.name != "tiny"
    }


def test_a_compressed_weight_says_how(report):
    assert report.compressed == {
        "good": CompressedWeight((8, 12), "int8", "LINEAR_SYMMETRIC", (1, 0)),
        "other": CompressedWeight((8, 9), "uint4", "LINEAR", (4, 1)),
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("small", "its 16 elements do not exceed weight_threshold 20"),
        ("vector", "it has rank 1; only rank 2 and above is quantized"),
        ("with_nan", "it holds NaN"),
        ("with_infinity", "it holds infinite values"),
        ("left_out", "no configuration applies to it"),
    ],
)
def test_a_weight_left_as_it_was_says_why(report, name, reason):
    assert report.skipped[name] == reason


def test_blocks_that_do_not_divide_are_a_reason():
    config = OptimizationConfig(
        OpLinearQuantizerConfig(granularity="per_block", block_size=5, weight_threshold=0)
    )
    found = quantize(config, weights=WEIGHTS[:1])
    assert found.skipped == {"good": "axis 1 has length 12, which block size 5 does not divide"}


def test_a_second_run_says_that_weights_are_compressed_already():
    config = OptimizationConfig(OpLinearQuantizerConfig(weight_threshold=0))
    once = linear_quantize_weights(build_model(WEIGHTS[:1]), config)
    found = CompressionReport()
    linear_quantize_weights(once, config, report=found)
    assert found.compressed == {}
    assert found.skipped == {
        "good_quantized": "it is compressed already (constexpr_blockwise_shift_scale)"
    }


def test_names_that_the_model_lacks_come_with_the_nearest_and_are_logged(caplog):
    config = OptimizationConfig(op_name_configs={"godo": None, "zzz": None})
    config.set_op_type("linaer", OpLinearQuantizerConfig())
    with caplog.at_level(logging.WARNING, logger="coreml_assay"):
        found = quantize(config)
    assert found.unmatched == {"godo": "good", "zzz": None, "linaer": "linear"}
    assert [record.message for record in caplog.records] == [
        "the configuration names 'godo', which the model does not have; the nearest is 'good'",
        "the configuration names 'zzz', which the model does not have",
        "the configuration names 'linaer', which the model does not have; the nearest is 'linear'",
    ]


def test_the_report_is_filled_up_to_the_weight_that_raises():
    config = OptimizationConfig(OpLinearQuantizerConfig(weight_threshold=0))
    config.set_op_name(
        "other",
        OpLinearQuantizerConfig(granularity="per_block", block_size=[1], weight_threshold=0),
    )
    found = CompressionReport()
    with pytest.raises(ValueError, match=r"other has 2 axes and block_size \[1\] has 1 elements"):
        linear_quantize_weights(build_model(WEIGHTS), config, report=found)
    assert "good" in found.compressed
    assert "other" not in found.compressed.keys() | found.skipped.keys()


def test_printed_it_is_a_summary_and_a_line_for_each_weight_left():
    found = CompressionReport(
        {"a": CompressedWeight((2, 8), "int4", "LINEAR", (1, 0))},
        {"b": "it holds NaN"},
        {"c": "b", "d": None},
    )
    assert str(found).splitlines() == [
        "1 of 2 weights compressed",
        "  b: it holds NaN",
        "  configured, but not in the model: c (nearest: b)",
        "  configured, but not in the model: d",
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"config": None}, ValueError, "config must be an OptimizationConfig, got NoneType"),
        ({"joint_compression": 1}, ValueError, "joint_compression must be True or False, got 1"),
        ({"mlmodel": "model"}, TypeError, "mlmodel must be a coremltools MLModel, got str"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, says):
    options = {"mlmodel": build_model(WEIGHTS[:1]), "config": OptimizationConfig(), **arguments}
    with pytest.raises(error, match=f"^{says}$"):
        linear_quantize_weights(options.pop("mlmodel"), **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "int4"}, "The 4-bit quantization is supported since iOS18"),
        ({"granularity": "per_block"}, "The per_block quantization is supported since iOS18"),
    ],
)
def test_what_an_older_target_cannot_hold_is_refused_in_one_line(options, says):
    config = OptimizationConfig(OpLinearQuantizerConfig(weight_threshold=0, **options))
    with pytest.raises(ValueError, match=says) as raised:
        quantize(config, "iOS17")
    assert "\n" not in str(raised.value)
