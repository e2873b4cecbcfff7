"""A quantized model computes in Core ML what it does in PyTorch: converted, saved, evaluated."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from ptq_helpers import LAYERS, compress, convert

from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program, open_package, save_package

# float32 sums of at most a few hundred products, taken in another order: 2**-24 each, relative to
# the largest output.
RELATIVE = 2e-6


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS17, ct.target.iOS18])
@pytest.mark.parametrize("name", LAYERS)
def test_the_saved_program_computes_what_torch_computes(name, target, tmp_path):
    torch.manual_seed(0)
    make, shapes = LAYERS[name]
    model = compress(make()).eval()
    inputs = tuple(torch.rand(shape) for shape in shapes)
    with torch.no_grad():
        expected = model(*inputs).numpy()
    converted = convert(
        model,
        inputs,
        target,
        to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    package = tmp_path / "quantized.mlpackage"
    save_package(converted, package)
    evaluator = Evaluator(load_program(open_package(package)))
    arrays = (x.numpy() for x in inputs)
    (found,) = evaluator.predict(dict(zip(evaluator.inputs, arrays, strict=True))).values()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= RELATIVE * np.abs(expected).max()
