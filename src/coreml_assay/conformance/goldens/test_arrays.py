"""Arrays: codes, scales and zero points equal to what real coremltools made, bit for bit."""

from __future__ import annotations

import pytest

from coreml_assay.conformance.subject import Subject
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.goldens.weights import ArrayCase

GOLDENS = frozen_goldens("coremltools-9.0/weights")
KINDS = sorted({(case.bits, case.signed, case.symmetric) for case in GOLDENS.cases.arrays})


def _cases(kind: tuple[int, bool, bool]) -> list[ArrayCase]:
    return [
        case for case in GOLDENS.cases.arrays if (case.bits, case.signed, case.symmetric) == kind
    ]


def _kind_id(kind: tuple[int, bool, bool]) -> str:
    bits, signed, symmetric = kind
    return f"{'int' if signed else 'uint'}{bits}-{'symmetric' if symmetric else 'linear'}"


@pytest.mark.clause("Q.19")
@pytest.mark.parametrize("kind", KINDS, ids=_kind_id)
def test_codes(tensor_subject: Subject, kind: tuple[int, bool, bool]) -> None:
    for case in _cases(kind):
        weight = GOLDENS.arrays[f"{case.name}.weight"]
        found = tensor_subject.quantize_weight(weight, case.grid, case.block_shape)
        expected = GOLDENS.arrays[f"{case.name}.codes"]
        tensor_subject.expect_equal(
            found.codes.astype(expected.dtype), expected, f"the codes of golden {case.name}"
        )


@pytest.mark.clause("Q.19")
@pytest.mark.parametrize("kind", KINDS, ids=_kind_id)
def test_scales(tensor_subject: Subject, kind: tuple[int, bool, bool]) -> None:
    for case in _cases(kind):
        weight = GOLDENS.arrays[f"{case.name}.weight"]
        found = tensor_subject.quantize_weight(weight, case.grid, case.block_shape)
        expected = GOLDENS.arrays[f"{case.name}.scale"]
        tensor_subject.expect_equal(found.scale, expected, f"the scales of golden {case.name}")


@pytest.mark.clause("Q.19")
@pytest.mark.parametrize("kind", KINDS, ids=_kind_id)
def test_zero_points(tensor_subject: Subject, kind: tuple[int, bool, bool]) -> None:
    for case in _cases(kind):
        weight = GOLDENS.arrays[f"{case.name}.weight"]
        found = tensor_subject.quantize_weight(weight, case.grid, case.block_shape).zero_point
        expected = GOLDENS.arrays.get(f"{case.name}.zero_point")
        what = f"the zero points of golden {case.name}"
        if expected is None or found is None:
            tensor_subject.expect(found is expected, f"{what} differ", expected, found)
        else:
            tensor_subject.expect_equal(found.astype(expected.dtype), expected, what)
