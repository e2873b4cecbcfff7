"""LinearQuantizer: placement, parameters, codes and programs are those of real coremltools."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from coreml_assay.conformance.linear_quantizing import calibrated, converted
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.tolerances import observed_scale_relative
from coreml_assay.goldens.linear_quantizer import CalibratedCase
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.implementations.linear_quantizing import (
    activation_parameters,
    layer_weights,
    placement,
    shared_quantizers,
)
from coreml_assay.mil.describe import first_difference
from coreml_assay.numerics.blocks import Array

GOLDENS = frozen_goldens("coremltools-9.0/linear-quantizer")
# Models whose observed ranges cannot be asked of another implementation.
OTHER_RANGES = {
    "dropout": "coremltools draws random numbers while it prepares, so others drop other values",
    "bn-alone": "the batch norm should be frozen: lq-batch-norm-alone",
}
# Models whose weights should have other scales.
OTHER_WEIGHTS = {
    "transposed-bn-relu": "the channels should be those of the output: lq-transposed-norm",
}
CASES = GOLDENS.cases.calibrated


def _but_for(others: Mapping[str, str]) -> list[CalibratedCase]:
    return [case for case in CASES if case.name not in others]


def _each(cases: Sequence[CalibratedCase]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def _expect_close(subject: Subject, found: Array, expected: Array, what: str) -> None:
    same = found.shape == expected.shape and np.allclose(
        found, expected, rtol=observed_scale_relative(), atol=0
    )
    subject.expect(bool(same), f"{what} differs from the golden", expected, found)


@pytest.mark.clause("L.25")
@_each(CASES)
def test_placement(torch_subject: Subject, case: CalibratedCase) -> None:
    found = calibrated(torch_subject, case.name)
    torch_subject.extend_snippet("print(*placement(found.prepared), sep='\\n')\n")
    with torch_subject.recording():
        lines = placement(found.prepared)
        names = tuple(activation_parameters(found.prepared))
        shared = shared_quantizers(found.prepared)
    difference = first_difference(list(case.placement), lines)
    torch_subject.expect(
        difference is None, "the graph differs from the golden", "no difference", difference
    )
    torch_subject.expect_equal(shared, case.shared, "what fake quantizers are shared")
    torch_subject.expect_equal(names, case.quantizers, "the list of fake quantizers")


@pytest.mark.clause("L.26")
@_each(_but_for(OTHER_RANGES))
def test_activations(torch_subject: Subject, case: CalibratedCase) -> None:
    found = calibrated(torch_subject, case.name)
    torch_subject.extend_snippet("print(activation_parameters(found.prepared))\n")
    with torch_subject.recording():
        parameters = list(activation_parameters(found.prepared).values())
    torch_subject.expect_equal(len(parameters), len(case.quantizers), "the number of quantizers")
    for name, each in zip(case.quantizers, parameters, strict=True):
        zero_point = GOLDENS.arrays[f"{case.name}/{name}.zero_point"]
        scale = GOLDENS.arrays[f"{case.name}/{name}.scale"]
        torch_subject.expect_equal(
            each.zero_point.tolist(), zero_point.tolist(), f"the zero point of {name}"
        )
        _expect_close(torch_subject, each.scale, scale, f"the scale of {name}")


@pytest.mark.clause("L.26")
@_each(_but_for(OTHER_WEIGHTS))
def test_weights(torch_subject: Subject, case: CalibratedCase) -> None:
    found = calibrated(torch_subject, case.name)
    torch_subject.extend_snippet("print(layer_weights(found))\n")
    with torch_subject.recording():
        weights = layer_weights(found)
    widths = {layer: weight.n_bits for layer, weight in weights.items()}
    torch_subject.expect_equal(widths, case.layers, "the width of each layer's codes")
    for layer, weight in weights.items():
        expected = {
            field: GOLDENS.arrays[f"{case.name}/{layer}.{field}"]
            for field in ("scale", "zero_point", "codes")
        }
        assert weight.scale is not None
        _expect_close(torch_subject, weight.scale, expected["scale"], f"the scale of {layer}")
        zero: Array = np.zeros(1) if weight.zero_point is None else weight.zero_point
        torch_subject.expect(
            bool((zero == expected["zero_point"]).all()),
            f"the zero point of {layer} differs",
            expected["zero_point"],
            zero,
        )
        torch_subject.expect_equal(
            weight.codes.astype(np.int16), expected["codes"], f"the codes of {layer}"
        )


def _unnamed(structure: Sequence[str]) -> list[str]:
    """A structure without its inputs' names, which PyTorch's tracer takes from local variables."""
    return [re.sub(r"= input \w+:", "= input:", line) for line in structure]


@pytest.mark.clause("L.27")
@_each([case for case in _but_for(OTHER_WEIGHTS) if case.program])
def test_programs(torch_subject: Subject, case: CalibratedCase) -> None:
    found = converted(torch_subject, case.name)
    torch_subject.extend_snippet(
        "from coreml_assay.mil.structure import structure\n"
        "print(*structure(convert(entry, found.finalized)), sep='\\n')\n"
    )
    difference = first_difference(_unnamed(case.program), _unnamed(found.structure))
    torch_subject.expect(
        difference is None, "the program differs from the golden", "no difference", difference
    )
    if case.name in OTHER_RANGES:
        return
    expected = GOLDENS.arrays[f"{case.name}/program.scales"]
    _expect_close(torch_subject, found.scales, expected, "the list of scales in the program")
