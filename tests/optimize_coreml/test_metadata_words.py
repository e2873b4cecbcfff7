"""Metadata of weights, as it prints."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.mil.samples import Weight, build_model
from coreml_assay.optimize.coreml import (
    CoreMLOpMetaData,
    CoreMLWeightMetaData,
    get_weights_metadata,
)

VALUE = np.array([[0, 1, 1, 1e-13], [2, 0, 1, 1], [2, 2, 2, 2]], np.float32)


def test_an_op_prints_as_a_call():
    op = CoreMLOpMetaData("conv", "conv_1", {"weight": "w", "bias": "b"})
    assert str(op) == "conv(name=conv_1, weight=w, bias=b, ...)"


def test_sparsity_and_unique_values_are_counted_from_the_values():
    weight = CoreMLWeightMetaData(VALUE)
    assert (weight.sparsity, weight.unique_values) == (3 / 12, 4)
    assert CoreMLWeightMetaData(VALUE[:0]).sparsity == 0
    assert CoreMLWeightMetaData(VALUE, 1, 2).sparsity == 1


def test_a_weight_prints_one_figure_a_line():
    weight = CoreMLWeightMetaData(
        VALUE, child_ops=[CoreMLOpMetaData("linear", "y", {"weight": "w"})]
    )
    assert str(weight).splitlines() == [
        "[",
        "  val: np.ndarray(shape=(3, 4), dtype=float32)",
        "  sparsity: 0.25",
        "  unique_values: 4",
        "  child_ops: [",
        "    linear(name=y, weight=w, ...)",
        "  ]",
        "]",
    ]
    assert "child_ops" not in str(CoreMLWeightMetaData(VALUE))


def test_all_weights_print_by_name():
    found = get_weights_metadata(build_model([Weight("w", VALUE, "linear")]), weight_threshold=11)
    assert str(found) == f"w\n{found['w']}\n"
    assert str(found["w"].child_ops[0]) == "linear(name=w_out, weight=w, ...)"


@pytest.mark.parametrize("threshold", [-1, 1.5, None, "10"])
def test_a_threshold_that_is_no_count_is_named(threshold):
    with pytest.raises(ValueError, match="weight_threshold must be a non-negative integer, got"):
        get_weights_metadata(build_model([Weight("w", VALUE, "linear")]), threshold)
