"""Single operations, and what coremltools makes of them."""

from __future__ import annotations

import numpy as np
from coremltools.converters.mil.mil import Function

from coreml_assay.mil.constexpr import materialize
from coreml_assay.mil.samples import TARGETS


def constexpr(target, build, **inputs):
    """The operation that ``build`` makes inside a function for ``target``."""
    inputs = {name: value for name, value in inputs.items() if value is not None}
    function = Function({}, opset_version=TARGETS[target])
    with function:
        found = build(**inputs)
        found = found[0] if isinstance(found, (tuple, list)) else found
        function.set_outputs([found])
    return found.op


def same_as_coremltools(operation):
    """Assert that our values are those of coremltools, bit for bit."""
    expected = operation.materialized_val_inference()
    expected = expected if isinstance(expected, tuple) else (expected,)
    for found, want in zip(materialize(operation), expected, strict=True):
        assert found.dtype == np.asarray(want).dtype
        assert found.shape == np.asarray(want).shape
        np.testing.assert_array_equal(found, want)
