"""The page's recipe for calibrated quantization of weights, line by line as it stands there."""

from __future__ import annotations

import warnings
from typing import Any

import coremltools as ct
import numpy as np
import pytest

from coreml_assay.conformance import tolerances
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import build, torch
from coreml_assay.implementations import Unsupported
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program

MODEL = """
model = torch.nn.Sequential(
    torch.nn.Linear(256, 128), torch.nn.ReLU(), torch.nn.Linear(128, 8)
).eval()
"""
RECIPE = """
config = LayerwiseCompressorConfig.from_dict(
    {
        "global_config": {
            "algorithm": "gptq",
            "weight_dtype": 4,
            "granularity": "per_block",
            "block_size": 128,
        },
        "input_cacher": "default",
        "calibration_nsamples": 16,
    }
)

dataloader = [torch.rand(4, 256) for _ in range(16)]

quantizer = LayerwiseCompressor(model, config)

compressed_model = quantizer.compress(dataloader)
"""


@pytest.mark.clause("P.4")
def test_calibrated_quantization(torch_subject: Subject) -> None:
    if not hasattr(torch_subject.torch, "layerwise_compression"):
        raise Unsupported(f"{torch_subject.implementation.name} has no LayerwiseCompressor")
    torch_subject.use_snippet(
        f"import torch{MODEL}"
        "LayerwiseCompressor = cto.torch.quantization.LayerwiseCompressor\n"
        "LayerwiseCompressorConfig = cto.torch.quantization.LayerwiseCompressorConfig"
        f"{RECIPE}print(compressed_model.state_dict())\n"
    )
    scope: dict[str, Any] = {"torch": torch, "model": build(MODEL)}
    x = np.random.default_rng(0).random((4, 256), np.float32)
    with torch_subject.recording(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's tracer and coremltools warn about each other
        for name in ("LayerwiseCompressor", "LayerwiseCompressorConfig"):
            scope[name] = getattr(torch_subject.torch.quantization, name)
        exec(RECIPE, scope)
        model = scope["compressed_model"]
        converted: Any = ct.convert(
            torch.jit.trace(model, torch.zeros(4, 256)),
            inputs=[ct.TensorType(name="x", shape=(4, 256))],
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        program = load_program(converted)
        (found,) = Evaluator(program).predict({"x": x}).values()
    state = model.state_dict()
    shape = tuple(state["0._COREML_/weight/quantization_scale"].shape)
    torch_subject.expect_equal(shape, (128, 2), "the shape of the scale")
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    torch_subject.expect(
        error <= tolerances.FLOAT32_MODEL,
        "the ML program computes something else than the PyTorch model",
        f"at most {tolerances.FLOAT32_MODEL:.3g} of the largest output",
        error,
    )
