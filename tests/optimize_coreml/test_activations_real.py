"""Activations of real models, and of many samples."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest
from activation_helpers import config, conv, ignore_noise, op_types, program

import coreml_assay.optimize as cto
from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program, open_package, save_package
from coreml_assay.optimize.coreml import CompressionReport, linear_quantize_activations

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]


def sounds(shape, count, first_seed):
    """Mixtures of three tones with a little noise, as large as speech."""
    length = int(np.prod(shape))
    time = np.arange(length) / 16000
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        tones = sum(
            rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * rng.uniform(80, 800) * time)
            for _ in range(3)
        )
        yield (tones + rng.normal(0, 0.01, length)).astype(np.float32).reshape(shape)


def decibels(signal, approximation):
    noise = np.square(signal - approximation, dtype=np.float64).sum()
    return 10 * np.log10(np.square(signal, dtype=np.float64).sum() / noise)


def model_and_samples(name):
    """A shipped model, its evaluator, and samples for calibration and for testing."""
    (shipped,) = [shipped for shipped in SHIPPED if shipped.name == name]
    folder = shipped.find()
    if folder is None:
        pytest.skip(f"needs {shipped.install_command}")
    model = open_package(folder)
    evaluator = Evaluator(load_program(model))
    ((key, taken),) = evaluator.inputs.items()
    shape = tuple(length or 1 for length in taken.shape)
    calibration = [{key: sound} for sound in sounds(shape, 8, first_seed=0)]
    unseen = [{key: sound} for sound in sounds(shape, 3, first_seed=100)]
    return model, evaluator, calibration, unseen


def assert_within(decibels_at_least, original, model, samples, folder):
    """Saved, reloaded and evaluated, a model is as near to the original as that."""
    save_package(model, folder / "w8a8.mlpackage")
    reloaded = Evaluator(load_program(open_package(folder / "w8a8.mlpackage")))
    for sample in samples:
        found = reloaded.predict(sample)
        for output, signal in original.predict(sample).items():
            assert decibels(signal, found[output]) > decibels_at_least


def test_recipe_of_the_guide_for_weights_and_activations(tmp_path):
    model, original, sample_data, unseen = model_and_samples("crepe-tiny")

    activation_config = cto.coreml.OptimizationConfig(
        global_config=cto.coreml.experimental.OpActivationLinearQuantizerConfig(
            mode="linear_symmetric"
        )
    )
    compressed_model_a8 = cto.coreml.experimental.linear_quantize_activations(
        model, activation_config, sample_data
    )
    weight_config = cto.coreml.OptimizationConfig(
        global_config=cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
    )
    compressed_model_w8a8 = cto.coreml.linear_quantize_weights(compressed_model_a8, weight_config)

    assert_within(20, original, compressed_model_w8a8, unseen, tmp_path)


def test_ops_that_need_a_wide_dynamic_range_are_left_out_by_name(tmp_path):
    """A float32 model: a filter bank, whose results go through a logarithm, and a network."""
    model, original, sample_data, unseen = model_and_samples("basic-pitch")
    everything = CompressionReport()
    config_of_all = config(cto.coreml)
    coarse = linear_quantize_activations(model, config_of_all, sample_data, report=everything)
    with pytest.raises(AssertionError):
        assert_within(20, original, coarse, unseen, tmp_path)

    # Beside the bank, a convolution whose result shares its range with one 14 times as wide.
    left_out = [name for name in everything.activations if "cq_t2010v2" in name]
    left_out.append("StatefulPartitionedCall_model_1_conv2d_3_BiasAdd")
    some = config(cto.coreml, op_name_configs=dict.fromkeys(left_out))
    report = CompressionReport()
    quantized = linear_quantize_activations(model, some, sample_data, report=report)
    assert set(everything.activations) == {*report.activations, *left_out}

    both = cto.coreml.linear_quantize_weights(quantized, config_of_all)
    assert_within(20, original, both, unseen, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory in KiB")
def test_memory_does_not_grow_with_the_number_of_samples():
    model = program(lambda x: conv(x, "a"))
    peaks = []

    def many():
        rng = np.random.default_rng(0)
        for i in range(10_000):
            if i % 1000 == 999:
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            yield {"x": rng.standard_normal((1, 3, 8, 8), np.float32)}

    quantized = linear_quantize_activations(model, config(cto.coreml), many())
    assert op_types(quantized).count("quantize") == 2
    assert peaks[-1] - peaks[0] < 4096  # KiB; the samples take 7,500
