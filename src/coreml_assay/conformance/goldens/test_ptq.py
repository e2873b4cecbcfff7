"""Post-training quantization of PyTorch layers: what real coremltools made, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import compress, compress_source, with_weights
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.goldens.weights import TorchCase
from coreml_assay.implementations.torch_models import LAYERS, TorchWeight
from coreml_assay.numerics.blocks import Array

GOLDENS = frozen_goldens("coremltools-9.0/weights")
_found: dict[tuple[int, str], tuple[Any, dict[str, TorchWeight]]] = {}
KINDS = list(dict.fromkeys(case.layer for case in GOLDENS.cases.torch))


def _compressed(subject: Subject, kind: str) -> Iterator[tuple[str, TorchWeight]]:
    """Each weight of each case of a kind of layer, under the name of its arrays."""
    for case in GOLDENS.cases.torch:
        if case.layer == kind:
            for name, found in _weights(subject, case).items():
                yield f"{case.name}.{name}", found


def _weights(subject: Subject, case: TorchCase) -> dict[str, TorchWeight]:
    """The weights of a case, compressed once for all checks."""
    layer = LAYERS[case.layer]
    arrays = {name: GOLDENS.arrays[array] for name, array in case.weights.items()}
    source, config = with_weights(layer.source, arrays), {"global_config": case.options}
    key = id(subject.implementation), case.name
    if key not in _found:
        weights = compress(subject, source, config).weights
        _found[key] = subject.implementation, weights  # kept, so that its id stays its own
    subject.use_snippet(compress_source(source, config))
    found = _found[key][1]
    return {name: found[name] for name in layer.weights}


def _expect_golden(subject: Subject, found: Array | None, array: str, what: str) -> None:
    expected = GOLDENS.arrays.get(array)
    if expected is None or found is None:
        subject.expect(found is expected, f"{what} of golden {array} differ", expected, found)
    else:
        subject.expect_equal(found, expected, f"{what} of golden {array}")


@pytest.mark.clause("T.13")
@pytest.mark.parametrize("kind", KINDS)
def test_ptq_codes(torch_subject: Subject, kind: str) -> None:
    for name, weight in _compressed(torch_subject, kind):
        codes = weight.codes.astype(np.int16) if weight.is_quantized else None
        _expect_golden(torch_subject, codes, f"{name}.codes", "the codes")


@pytest.mark.clause("T.13", "T.17", "T.18")
@pytest.mark.parametrize("kind", KINDS)
def test_ptq_scales(torch_subject: Subject, kind: str) -> None:
    for name, weight in _compressed(torch_subject, kind):
        _expect_golden(torch_subject, weight.scale, f"{name}.scale", "the scales")


@pytest.mark.clause("T.13", "T.16")
@pytest.mark.parametrize("kind", KINDS)
def test_ptq_zero_points(torch_subject: Subject, kind: str) -> None:
    for name, weight in _compressed(torch_subject, kind):
        _expect_golden(torch_subject, weight.zero_point, f"{name}.zero_point", "the zero points")
