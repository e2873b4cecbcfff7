"""Prepared, finalized and converted models agree; metadata and the report say what was done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance.linear_quantizing import (
    calibrated,
    converted,
    prepare,
    row,
    with_options,
)
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import output_steps
from coreml_assay.conformance.torch_quantizing import torch
from coreml_assay.implementations.linear_quantizing import (
    Calibrated,
    activation_parameters,
    fake_quantizers,
    is_fake_quantizer,
    layer_weights,
)
from coreml_assay.implementations.trainable_models import MODELS
from coreml_assay.numerics.blocks import Array


@pytest.mark.clause("L.32")
@pytest.mark.parametrize("name", MODELS)
def test_simulated_finalized_and_converted_agree(torch_subject: Subject, name: str) -> None:
    found = calibrated(torch_subject, name)
    torch_subject.extend_snippet(
        "for _, module in fake_quantizers(found.prepared):\n"
        "    module.fake_quant_enabled[0], module.observer_enabled[0] = 1, 0\n"
        "x = entry.batches()[0]\n"
        "print(found.prepared(*x), found.finalized(*x))\n"
        "print(evaluated(convert(entry, found.finalized), entry))\n"
    )
    with torch_subject.recording():
        simulated = _simulated(found.prepared, MODELS[name].batches()[0])
        with torch.no_grad():
            finalized = found.finalized(*MODELS[name].batches()[0]).numpy()
    step = _output_step(found.prepared, simulated)
    _expect_near(torch_subject, finalized, simulated, step, "finalized")
    output = converted(torch_subject, name).output
    _expect_near(torch_subject, output, finalized, step, "converted")


def _simulated(prepared: Any, batch: tuple[Any, ...]) -> Array:
    """The output with fake quantization on; afterwards everything is as before."""
    modules = [module for _, module in fake_quantizers(prepared)]
    before = [(int(m.observer_enabled), int(m.fake_quant_enabled)) for m in modules]
    for module in modules:
        module.observer_enabled[0], module.fake_quant_enabled[0] = 0, 1
    with torch.no_grad():
        output: Array = prepared(*batch).numpy()
    for module, (observing, simulating) in zip(modules, before, strict=True):
        module.observer_enabled[0], module.fake_quant_enabled[0] = observing, simulating
    return output


def _output_step(prepared: Any, output: Array) -> float:
    """A step of the output's grid; of a grid of 8 bits over it, if it is not quantized."""
    (last,) = next(node for node in prepared.graph.nodes if node.op == "output").args
    if is_fake_quantizer(last):
        return float(activation_parameters(prepared)[str(last.target)].scale[0])
    return float(abs(output).max() / 127.5)


def _expect_near(subject: Subject, found: Array, expected: Array, step: float, what: str) -> None:
    near = found.shape == expected.shape and bool(
        (abs(found - expected) <= output_steps() * step).all()
    )
    subject.expect(near, f"the {what} model computes something else", expected, found)


# One of each kind of layer, rank and code.
STORED = [
    "conv",
    "conv1d",
    "conv3d",
    "conv-grouped",
    "conv1d-bn-relu",
    "transposed",
    "transposed1d",
    "linear",
    "embedding",
    "unsigned",
    "4-bit",
    "unsigned-4-bit",
    "affine",
    "affine-4-bit",
    "per-tensor",
]


@pytest.mark.clause("L.37")
@pytest.mark.parametrize("name", STORED)
def test_the_programs_weights_are_the_finalized_models(torch_subject: Subject, name: str) -> None:
    weights = layer_weights(calibrated(torch_subject, name))
    found = sorted(values.tobytes() for values in converted(torch_subject, name).weights)
    expected = sorted(weight.values.tobytes() for weight in weights.values())
    torch_subject.expect_equal(found, expected, "the set of quantized weights in the program")


GRIDS = {
    "conv": (-128, 127),
    "conv-bn-relu": (-128, 127),
    "unsigned": (0, 255),
    "4-bit": (-8, 7),
    "unsigned-4-bit": (0, 15),
    "affine": (-128, 127),
    "affine-4-bit": (-8, 7),
    "per-tensor": (-128, 127),
    "learnable": (-128, 127),
    "transposed": (-128, 127),
}


@pytest.mark.clause("L.36")
@pytest.mark.parametrize("name", GRIDS)
def test_finalized_weights_are_what_their_codes_stand_for(
    torch_subject: Subject, name: str
) -> None:
    lowest, highest = GRIDS[name]
    weights = layer_weights(calibrated(torch_subject, name))
    torch_subject.expect(bool(weights), "no buffers state any codes", "buffers", weights)
    for layer, weight in weights.items():
        codes, scale, zero = weight.codes, weight.scale, weight.zero_point
        assert scale is not None
        torch_subject.expect(
            bool((codes >= lowest).all() and (codes <= highest).all()),
            f"codes of {layer} lie outside the grid",
            (lowest, highest),
            codes,
        )
        zeros: Any = 0 if zero is None else zero
        stands_for = ((codes - zeros).astype(np.float32) * scale).astype(np.float32)
        torch_subject.expect_equal(weight.values, stands_for, f"the values of {layer}")
        torch_subject.expect_equal(weight.compression_types, (3,), "compression_type")
        torch_subject.expect_equal(str(scale.dtype), "float32", "the dtype of the scale")


@pytest.mark.clause("L.36")
@pytest.mark.parametrize("name", ["conv", "weight-only", "learnable"])
def test_the_root_has_the_version_of_the_metadata(torch_subject: Subject, name: str) -> None:
    state = calibrated(torch_subject, name).finalized.state_dict()
    version = state.get("_COREML_/metadata_version")
    torch_subject.expect_equal(
        None if version is None else int(version), 1, "_COREML_/metadata_version"
    )


TWO = "model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))"


@pytest.mark.clause("L.35")
@pytest.mark.parametrize("algorithm", ["vanilla", "learnable"])
def test_the_report(torch_subject: Subject, algorithm: str) -> None:
    options = with_options(algorithm=algorithm, weight_dtype="qint4")
    found = prepare(torch_subject, TWO, options, (1, 3))
    found.run(row(4, -2, 3))
    torch_subject.extend_snippet("print(quantizer.report())\n")
    with torch_subject.recording():
        report = dict(found.quantizer.report())
    torch_subject.expect_equal(found.model.training, True, "whether it is still in training")
    names = sorted(name for name, row in report.items() if row["type"] == "weight")
    torch_subject.expect_equal(names, ["0", "2"], "the rows about weights")
    activations = sorted(name for name, row in report.items() if row["type"] == "activation")
    expected = sorted(activation_parameters(found.model))
    torch_subject.expect_equal(activations, expected, "the rows about activations")
    for name, size in (("0", 12), ("2", 8)):
        shown = {key: report[name][key] for key in _SHOWN}
        torch_subject.expect_equal(
            shown, dict(zip(_SHOWN, (algorithm, "symmetric", True, -8, 7, size), strict=True)), name
        )
    _expect_errors(torch_subject, found.model, found.finalize(), found.quantizer, report)
    first = report[expected[0]]
    torch_subject.expect_equal(
        (first["#params"], first["error"] != first["error"], first["per_channel"]),
        (-1, True, False),
        "#params, NaN as error, and per_channel of an activation",
    )


_SHOWN = ("algorithm", "qscheme", "per_channel", "qmin", "qmax", "#params")


def _expect_errors(
    subject: Subject, prepared: Any, finalized: Any, quantizer: Any, report: dict[str, Any]
) -> None:
    """Fail unless the errors are the root-mean-square changes of the weights."""
    for name, weight in layer_weights(Calibrated(quantizer, prepared, finalized)).items():
        before = prepared.get_submodule(name).weight.detach().numpy().astype(np.float64)
        error = float(np.sqrt(np.square(weight.values - before).mean()))
        subject.expect(
            # Two float32 sums of a dozen squares, in some order.
            abs(report[name]["error"] - error) <= 1e-5 * error,
            f"the error of {name} is not its root-mean-square change",
            error,
            report[name]["error"],
        )
