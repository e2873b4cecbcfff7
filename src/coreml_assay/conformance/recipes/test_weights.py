"""The page's recipe for weights, line by line as it stands there."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance.quantizing import read
from coreml_assay.conformance.subject import Subject
from coreml_assay.mil.samples import single


@pytest.mark.clause("P.1")
def test_quantizing_weights(coreml_subject: Subject) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    model = single(weight)
    implementation: Any = coreml_subject.implementation
    cto: types.ModuleType = implementation.optimize
    with coreml_subject.recording():
        op_config = cto.coreml.OpLinearQuantizerConfig(
            mode="linear_symmetric", weight_threshold=512
        )
        config = cto.coreml.OptimizationConfig(global_config=op_config)

        compressed_8_bit_model = cto.coreml.linear_quantize_weights(model, config=config)
    stored = read(coreml_subject, compressed_8_bit_model)["w"]
    coreml_subject.expect_equal(stored.is_quantized, True, "whether the weight has 8-bit codes")
    coreml_subject.expect_equal(stored.zero_point, None, "the zero point, of which it has none")
