"""GPTQ: what real coremltools made of matrices under calibration inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from coreml_assay.conformance import tolerances
from coreml_assay.conformance.layerwise_quantizing import proxy_losses, values_of
from coreml_assay.conformance.subject import Subject
from coreml_assay.goldens.gptq import GPTQCase, arguments_of
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.numerics import QuantizedWeight

GOLDENS = frozen_goldens("coremltools-9.0/gptq")


def _each(cases: Sequence[GPTQCase]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name.partition("-")[2])


def _found(subject: Subject, case: GPTQCase) -> QuantizedWeight:
    source = (
        "from coreml_assay.goldens.gptq import arguments_of\n"
        "from coreml_assay.goldens.store import frozen_goldens\n"
        "goldens = frozen_goldens('coremltools-9.0/gptq')\n"
        "cases = [*goldens.cases.clear, *goldens.cases.ordinary, *goldens.cases.saturating]\n"
        f"case = next(case for case in cases if case.name == {case.name!r})\n"
        "weight, inputs, spec = arguments_of(case, goldens.arrays)\n"
    )
    return subject.gptq(*arguments_of(case, GOLDENS.arrays), source=source)


def _golden(case: GPTQCase) -> QuantizedWeight:
    return QuantizedWeight(
        *(GOLDENS.arrays[f"{case.name}.{field}"] for field in QuantizedWeight._fields)
    )


def _losses(case: GPTQCase, *all_found: QuantizedWeight) -> list[float]:
    weight, inputs, _ = arguments_of(case, GOLDENS.arrays)
    X = np.concatenate(inputs).astype(np.float64)
    return [float(proxy_losses(weight, values_of(found), X.T @ X).sum()) for found in all_found]


@pytest.mark.clause("G.28")
@_each(GOLDENS.cases.clear)
def test_codes_without_near_ties(tensor_subject: Subject, case: GPTQCase) -> None:
    found, golden = _found(tensor_subject, case), _golden(case)
    tensor_subject.expect_equal(found.codes, golden.codes, "the array of codes")
    tensor_subject.expect_equal(found.zero_point, golden.zero_point, "the array of zero points")
    close = found.scale.shape == golden.scale.shape and np.allclose(
        found.scale, golden.scale, rtol=tolerances.GPTQ_SCALE, atol=0
    )
    tensor_subject.expect(bool(close), "the scales differ", golden.scale, found.scale)


@pytest.mark.clause("G.28")
@_each(GOLDENS.cases.ordinary)
def test_codes_and_loss(tensor_subject: Subject, case: GPTQCase) -> None:
    found, golden = _found(tensor_subject, case), _golden(case)
    share = float((found.codes == golden.codes).mean())
    tensor_subject.expect(
        share >= tolerances.GPTQ_EQUAL_CODES,
        "codes differ from the golden",
        f"at least {tolerances.GPTQ_EQUAL_CODES:.1%} equal",
        f"{share:.2%} equal",
    )
    loss, theirs = _losses(case, found, golden)
    tensor_subject.expect(
        loss <= tolerances.GPTQ_LOSS_RATIO * theirs,
        "the proxy loss is higher than the golden's",
        f"at most {tolerances.GPTQ_LOSS_RATIO} of it",
        f"{loss / theirs:.5f} of it",
    )


@pytest.mark.clause("G.7", "G.28")
@_each(GOLDENS.cases.saturating)
def test_loss_where_coremltools_saturates(tensor_subject: Subject, case: GPTQCase) -> None:
    loss, theirs = _losses(case, _found(tensor_subject, case), _golden(case))
    tensor_subject.expect(
        loss < tolerances.GPTQ_UNSATURATED * theirs,
        "the proxy loss is that of a golden whose weights saturate",
        f"at most {tolerances.GPTQ_UNSATURATED} of it",
        f"{loss / theirs:.5f} of it",
    )
