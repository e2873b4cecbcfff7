"""Programs: op for op, bit for bit what real coremltools wrote."""

from __future__ import annotations

import pytest

from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.accuracy.weights import CONFIGURATIONS, prepare, quantize_with
from coreml_assay.conformance.quantizing import Configuration, quantize_model
from coreml_assay.conformance.subject import NotMeasured, Subject
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.goldens.weights import ModelCase, ProgramCase
from coreml_assay.mil.describe import describe, first_difference
from coreml_assay.mil.program import Model, load_program, open_package
from coreml_assay.mil.samples import Weight, build_model

GOLDENS = frozen_goldens("coremltools-9.0/weights")


@pytest.mark.clause("W.23")
@pytest.mark.parametrize(
    "case", GOLDENS.cases.programs, ids=lambda case: f"{case.target}-{case.name}"
)
def test_sample_programs(coreml_subject: Subject, case: ProgramCase) -> None:
    weights = [
        Weight(name, GOLDENS.arrays[array], consumer) for name, array, consumer in case.weights
    ]
    coreml_subject.use_snippet(
        "from coreml_assay.conformance.quantizing import Configuration\n"
        "from coreml_assay.goldens.store import frozen_goldens\n"
        "from coreml_assay.mil.describe import describe, first_difference\n"
        "from coreml_assay.mil.program import load_program\n"
        "from coreml_assay.mil.samples import Weight, build_model\n"
        'goldens = frozen_goldens("coremltools-9.0/weights")\n'
        f"case = next(c for c in goldens.cases.programs if c.name == {case.name!r})\n"
        "model = build_model(\n"
        "    [Weight(w, goldens.arrays[a], c) for w, a, c in case.weights], case.target\n"
        ")\n"
        "config = Configuration(case.options).build(cto.coreml)\n"
        "found = describe(load_program(cto.coreml.linear_quantize_weights(model, config)))\n"
        "print(first_difference(list(case.description), found))\n"
    )
    model = build_model(weights, case.target)
    quantized = quantize_model(coreml_subject, model, Configuration(case.options))
    _expect_program(coreml_subject, quantized, case.description)


@pytest.mark.clause("W.23")
@pytest.mark.parametrize(
    "case", GOLDENS.cases.models, ids=lambda case: f"{case.model}-{case.configuration}"
)
def test_shipped_models(coreml_subject: Subject, case: ModelCase) -> None:
    shipped = next(model for model in SHIPPED if model.name == case.model)
    package = shipped.find()
    if package is None:
        raise NotMeasured(f"{case.model} is not installed: {shipped.install_command}")
    configuration = next(c for c in CONFIGURATIONS if c.name == case.configuration)
    model = prepare(open_package(package), configuration)
    with coreml_subject.recording():
        quantized = quantize_with(coreml_subject.implementation, model, configuration)
    _expect_program(coreml_subject, quantized, case.description)


def _expect_program(subject: Subject, quantized: Model, description: tuple[str, ...]) -> None:
    with subject.recording():
        found = describe(load_program(quantized))
    difference = first_difference(list(description), found)
    subject.expect(
        difference is None, "the program differs from the golden", "no difference", difference
    )
