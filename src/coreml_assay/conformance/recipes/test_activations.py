"""The page's recipe for weights and activations, line by line as it stands there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.conformance.activation_quantizing import namespace
from coreml_assay.conformance.subject import NotMeasured, Subject
from coreml_assay.conformance.tolerances import RECIPE_SIGNAL_TO_NOISE
from coreml_assay.implementations import predicting
from coreml_assay.mil.pairs import op_types
from coreml_assay.mil.program import load_program, open_package, save_package
from coreml_assay.mil.stored import stored_weights
from coreml_assay.numerics.blocks import Array

RECIPE = """
activation_config = cto.coreml.OptimizationConfig(
    global_config=cto.coreml.experimental.OpActivationLinearQuantizerConfig(
        mode="linear_symmetric"
    )
)

compressed_model_a8 = cto.coreml.experimental.linear_quantize_activations(
    model, activation_config, sample_data
)

op_config = cto.coreml.OpLinearQuantizerConfig(
    mode="linear_symmetric", weight_threshold=512
)
config = cto.coreml.OptimizationConfig(global_config=op_config)

compressed_8_bit_model = cto.coreml.linear_quantize_weights(compressed_model_a8, config=config)
"""
MODEL = "crepe-tiny"  # pitch of voices: convolutions, and a layer at the end
LENGTH = 1024  # of the sounds it takes, at 16 kHz


def _sound(seed: int) -> Array:
    """Three tones with a little noise, as loud as speech."""
    rng = np.random.default_rng(seed)
    time = np.arange(LENGTH) / 16000
    wave = rng.normal(0, 0.01, LENGTH)
    for _ in range(3):
        wave += rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * rng.uniform(80, 800) * time)
    return wave.astype(np.float32)[None]


@pytest.mark.clause("P.3")
def test_quantizing_weights_and_activations(coreml_subject: Subject, tmp_path: Path) -> None:
    namespace(coreml_subject)
    from coreml_assay.mil.evaluator import Evaluator  # needs torch

    shipped = next(model for model in SHIPPED if model.name == MODEL)
    package = shipped.find()
    if package is None:
        raise NotMeasured(f"{MODEL} is not installed: {shipped.install_command}")
    implementation: Any = coreml_subject.implementation
    model = open_package(package)
    original = Evaluator(load_program(model))
    (name,) = original.inputs
    coreml_subject.use_snippet(f"# model is {MODEL}, sample_data are sounds\n{RECIPE}")
    scope: dict[str, Any] = {
        "cto": implementation.optimize,
        "model": model,
        "sample_data": [{name: _sound(seed)} for seed in range(4)],
    }
    with coreml_subject.recording(), warnings.catch_warnings(), predicting(implementation):
        warnings.simplefilter("ignore")  # coremltools calls these names deprecated
        exec(RECIPE, scope)
        save_package(scope["compressed_8_bit_model"], tmp_path / "w8a8.mlpackage")
    program = load_program(open_package(tmp_path / "w8a8.mlpackage"))
    quantized = sum(weight.is_quantized for weight in stored_weights(program).values())
    coreml_subject.expect(quantized >= 7, "weights are left", "at least 7 quantized", quantized)
    pairs = op_types(program).count("quantize")
    coreml_subject.expect(pairs >= 7, "activations are left", "at least 7 quantized", pairs)
    unseen = {name: _sound(100)}
    (expected,), (found,) = (
        each.predict(unseen).values() for each in (original, Evaluator(program))
    )
    noise = float(np.square(found - expected, dtype=np.float64).sum())
    ratio = 10 * np.log10(np.square(expected, dtype=np.float64).sum() / max(noise, 1e-30))
    coreml_subject.expect(
        ratio >= RECIPE_SIGNAL_TO_NOISE,
        "the quantized model computes something else",
        f"a signal-to-noise ratio of at least {RECIPE_SIGNAL_TO_NOISE} dB",
        f"{ratio:.1f} dB",
    )
