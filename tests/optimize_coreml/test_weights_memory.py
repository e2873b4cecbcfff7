"""Quantizing weights keeps none of them in memory longer than it needs it."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from coreml_assay.mil.samples import Weight, build_model
from coreml_assay.optimize.coreml import (
    OpLinearQuantizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
    transform,
)

W = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)


def test_a_weight_is_gone_before_the_next_one_is_quantized(monkeypatch):
    model = build_model([Weight(name, W, "linear") for name in "uvw"])
    real, floats, alive = transform.round_to_nearest, [], []

    def spied(weight, *arguments):
        alive.append(sum(earlier() is not None for earlier in floats))
        floats.append(weakref.ref(weight))
        return real(weight, *arguments)

    monkeypatch.setattr(transform, "round_to_nearest", spied)
    config = OptimizationConfig(global_config=OpLinearQuantizerConfig())
    gc.disable()
    try:
        linear_quantize_weights(model, config)
    finally:
        gc.enable()
    assert alive == [0, 0, 0]
