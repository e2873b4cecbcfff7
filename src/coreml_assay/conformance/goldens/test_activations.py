"""Activations: ops, scales and zero points equal to what real coremltools made, bit for bit."""

from __future__ import annotations

import pytest

from coreml_assay.conformance.activation_quantizing import quantize, with_options
from coreml_assay.conformance.subject import Subject
from coreml_assay.goldens.activations import QuantizedProgram
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.mil.describe import first_difference

GOLDENS = frozen_goldens("coremltools-9.0/activations")
CASES = [
    pytest.param(case.name, each, id=f"{case.name}-{each.mode}-{each.dtype}")
    for case in GOLDENS.cases.programs
    for each in case.quantized
]


@pytest.mark.clause("A.34")
@pytest.mark.parametrize(("name", "case"), CASES)
def test_sample_programs(coreml_subject: Subject, name: str, case: QuantizedProgram) -> None:
    options = with_options(mode=case.mode, dtype=case.dtype)
    found = quantize(coreml_subject, f"program(PROGRAMS[{name!r}])", configuration=options)
    difference = first_difference(list(case.lines), found.described())
    coreml_subject.expect(
        difference is None, "the program differs from the golden", "no difference", difference
    )
