"""Which implementations are lent predictions, and for how long."""

from __future__ import annotations

from coremltools.models import model as model_module

from coreml_assay.implementations import load_implementation, predicting


def test_coremltools_predicts_within_the_block_alone():
    before = model_module._MLModelProxy
    with predicting(load_implementation("coremltools")):
        assert model_module._MLModelProxy is not before
    assert model_module._MLModelProxy is before


def test_an_implementation_that_needs_no_help_gets_none():
    before = model_module._MLModelProxy
    with predicting(load_implementation("reference")):
        assert model_module._MLModelProxy is before
