"""The page's recipe for data-free quantization, line by line as it stands there."""

from __future__ import annotations

from typing import Any

import pytest

from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import build, torch
from coreml_assay.implementations.torch_models import torch_weights

MODEL = """
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 256, 3),
    torch.nn.ReLU(),
    torch.nn.Conv2d(256, 16, 3),
    torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(),
    torch.nn.Linear(16, 10),
)
"""
RECIPE = """
config = PostTrainingQuantizerConfig.from_dict(
    {
        "global_config": {
            "weight_dtype": "int8",
            "granularity": "per_block",
            "block_size": 128,
        },
        "module_type_configs": {
            torch.nn.Linear: None
        }
    }
)
quantizer = PostTrainingQuantizer(model, config)
quantized_model = quantizer.compress()
"""


@pytest.mark.clause("P.2")
def test_data_free_quantization(torch_subject: Subject) -> None:
    torch_subject.use_snippet(
        f"import torch{MODEL}"
        "PostTrainingQuantizer = cto.torch.quantization.PostTrainingQuantizer\n"
        "PostTrainingQuantizerConfig = cto.torch.quantization.PostTrainingQuantizerConfig"
        f"{RECIPE}print(quantized_model.state_dict())\n"
    )
    scope: dict[str, Any] = {"torch": torch, "model": build(MODEL)}
    with torch_subject.recording():
        for name in ("PostTrainingQuantizer", "PostTrainingQuantizerConfig"):
            scope[name] = getattr(torch_subject.torch.quantization, name)
        exec(RECIPE, scope)
        weights = torch_weights(scope["quantized_model"])
    shapes = {name: w.scale.shape for name, w in weights.items() if w.scale is not None}
    # 3 input channels are no block of 128, and Linear is de-selected.
    expected = {"2.weight": (16, 2, 1, 1)}
    torch_subject.expect_equal(shapes, expected, "the shapes of scales")
