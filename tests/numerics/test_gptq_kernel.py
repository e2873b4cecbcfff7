"""The compiled sweep against the one in PyTorch."""

from __future__ import annotations

import gptq_helpers as helpers
import pytest
import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq import quantize


@pytest.mark.parametrize("isa", native.available())
@pytest.mark.parametrize("shape", [(3, 5), (200, 96), (600, 64)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetric": False, "block_columns": 1},
        {"bits": 8, "processing_group_size": 7},
        {"activation_order": True, "symmetric": False},
        {"bits": 3, "normal_float": True},
        {"normal_float": True, "scale_search": True},
    ],
)
def test_kernel_equals_torch_bit_for_bit(monkeypatch, isa, shape, options):
    weight, inputs = helpers.layer(*shape)
    weight[0] *= 1e-40
    weight[-1] *= 1e12
    matrix = helpers.hessian(inputs)
    monkeypatch.setenv(native.VARIABLE, "0")
    expected = quantize(weight, matrix, helpers.spec(**options))
    monkeypatch.setenv(native.VARIABLE, isa)
    monkeypatch.setattr("coreml_assay.numerics.gptq.sweep.round_columns", None)  # not to be used
    # Sums that are split otherwise are rounded otherwise.
    monkeypatch.setattr("coreml_assay.numerics.gptq.products._kernel", lambda device: None)
    monkeypatch.setattr("coreml_assay.numerics.gptq.kernel.entering", lambda *_, **__: None)
    found = quantize(weight, matrix, helpers.spec(**options))
    for name in ("codes", "scale", "zero_point", "weight"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
