"""Every operation is checked against something independent, and the document says so."""

from __future__ import annotations

from operations_document import DOCUMENT, declared_checks, render

from coreml_assay.mil.ops import CONSTANT_OPERATIONS, FAMILIES, OPERATIONS

INDEPENDENT = {"arithmetic", "documentation", "numpy", "onnxruntime", "torch"}


def test_every_supported_operation_has_a_check():
    checked = declared_checks()
    supported = {*OPERATIONS, *CONSTANT_OPERATIONS}
    assert supported - set(checked) == set()
    assert set(checked) - supported == set()
    assert len(supported) >= 130


def test_checks_name_something_independent():
    words = {against for checks in declared_checks().values() for against in checks}
    assert words <= INDEPENDENT


def test_families_do_not_overlap():
    assert sum(len(family) for family in FAMILIES.values()) == len(OPERATIONS)
    assert not set(OPERATIONS) & set(CONSTANT_OPERATIONS)


def test_the_document_is_up_to_date():
    message = "run python tests/mil/operations_document.py"
    assert DOCUMENT.read_text(encoding="utf-8") == render(), message
