"""Arrays: codes, scales and zero points equal to what real coremltools made, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coreml_assay.conformance.subject import Subject
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.goldens.weights import ArrayCase
from coreml_assay.implementations import Unsupported
from coreml_assay.numerics import QuantizedWeight

GOLDENS = frozen_goldens("coremltools-9.0/weights")
KINDS = sorted({(case.bits, case.signed, case.symmetric) for case in GOLDENS.cases.arrays})


def _cases(kind: tuple[int, bool, bool]) -> list[ArrayCase]:
    return [
        case for case in GOLDENS.cases.arrays if (case.bits, case.signed, case.symmetric) == kind
    ]


def _kind_id(kind: tuple[int, bool, bool]) -> str:
    bits, signed, symmetric = kind
    return f"{'int' if signed else 'uint'}{bits}-{'symmetric' if symmetric else 'linear'}"


def _offered(
    subject: Subject, kind: tuple[int, bool, bool]
) -> Iterator[tuple[ArrayCase, QuantizedWeight]]:
    """The cases of a kind that a subject offers, one by one, with what it makes of them.

    Raises:
        Unsupported: there are none.
    """
    offered, answer = False, Unsupported()
    for case in _cases(kind):
        try:
            found = subject.quantize_weight(
                GOLDENS.arrays[f"{case.name}.weight"], case.grid, case.block_shape
            )
        except Unsupported as unsupported:
            answer = unsupported
            continue
        offered = True
        yield case, found
    if not offered:
        raise answer


@pytest.mark.clause("Q.19")
@pytest.mark.parametrize("kind", KINDS, ids=_kind_id)
def test_codes(tensor_subject: Subject, kind: tuple[int, bool, bool]) -> None:
    for case, found in _offered(tensor_subject, kind):
        expected = GOLDENS.arrays[f"{case.name}.codes"]
        tensor_subject.expect_equal(
            found.codes.astype(expected.dtype), expected, f"the codes of golden {case.name}"
        )


@pytest.mark.clause("Q.19")
@pytest.mark.parametrize("kind", KINDS, ids=_kind_id)
def test_scales(tensor_subject: Subject, kind: tuple[int, bool, bool]) -> None:
    for case, found in _offered(tensor_subject, kind):
        expected = GOLDENS.arrays[f"{case.name}.scale"]
        tensor_subject.expect_equal(found.scale, expected, f"the scales of golden {case.name}")


@pytest.mark.clause("Q.19")
@pytest.mark.parametrize("kind", KINDS, ids=_kind_id)
def test_zero_points(tensor_subject: Subject, kind: tuple[int, bool, bool]) -> None:
    for case, found in _offered(tensor_subject, kind):
        expected = GOLDENS.arrays.get(f"{case.name}.zero_point")
        zero_point = found.zero_point
        what = f"the zero points of golden {case.name}"
        if expected is None or zero_point is None:
            tensor_subject.expect(zero_point is expected, f"{what} differ", expected, zero_point)
        else:
            tensor_subject.expect_equal(zero_point.astype(expected.dtype), expected, what)
