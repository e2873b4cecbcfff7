"""Reductions against numpy, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS17, assert_close, checks, evaluate, normal

FORMULAS = {
    "reduce_l1_norm": lambda x, **where: np.abs(x).sum(**where),
    "reduce_l2_norm": lambda x, **where: np.sqrt((x**2).sum(**where)),
    "reduce_log_sum": lambda x, **where: np.log(x.sum(**where)),
    "reduce_log_sum_exp": lambda x, **where: np.log(np.exp(x).sum(**where)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **where: (x**2).sum(**where),
}


@checks(*FORMULAS, against="numpy")
@pytest.mark.parametrize("op_type", FORMULAS)
@pytest.mark.parametrize("axes", [None, [1], [0, -1]])
@pytest.mark.parametrize("keep_dims", [True, False])
def test_reductions_equal_numpy(op_type, axes, keep_dims):
    x = np.abs(normal(2, 3, 4)) + 0.1 if op_type == "reduce_log_sum" else normal(2, 3, 4)
    where = {"axis": None if axes is None else tuple(axes), "keepdims": keep_dims}
    found = evaluate(
        lambda x: getattr(mb, op_type)(x=x, axes=axes, keep_dims=keep_dims),
        flexible={"x": (None, 3, None)},
        x=x,
    )
    assert_close(found, FORMULAS[op_type](x.astype(np.float64), **where))


@checks("reduce_log_sum_exp", against="arithmetic")
def test_log_sum_exp_does_not_overflow():
    x = np.array([1000.0, 1000.0], np.float32)
    found = evaluate(lambda x: mb.reduce_log_sum_exp(x=x, axes=[0]), x=x)
    assert_close(found, 1000.0 + np.log(2.0))


@checks("reduce_max", "reduce_sum", "reduce_prod", "reduce_mean", against="arithmetic")
def test_reductions_of_integers_stay_integers():
    x = np.array([[2, -3], [7, 4]], np.int32)
    found = evaluate(
        lambda x: [
            getattr(mb, op_type)(x=x, axes=[1])
            for op_type in ("reduce_max", "reduce_sum", "reduce_prod", "reduce_mean")
        ],
        x=x,
    )
    assert [array.dtype for array in found] == [np.int32] * 4
    assert [array.tolist() for array in found] == [[2, 7], [-1, 11], [-6, 28], [0, 5]]


@checks("reduce_argmax", "reduce_argmin", against="numpy")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keep_dims", [True, False])
def test_positions_of_extremes_equal_numpy(opset, axis, keep_dims):
    x = normal(4, 3, 5)
    largest, smallest = evaluate(
        lambda x: (
            mb.reduce_argmax(x=x, axis=axis, keep_dims=keep_dims),
            mb.reduce_argmin(x=x, axis=axis, keep_dims=keep_dims),
        ),
        opset,
        x=x,
    )
    assert largest.dtype == smallest.dtype == np.int32
    assert_close(largest, np.argmax(x, axis, keepdims=keep_dims), 0)
    assert_close(smallest, np.argmin(x, axis, keepdims=keep_dims), 0)


@checks("reduce_argmax", against="numpy")
def test_positions_may_be_sixteen_bits_wide():
    x = normal(4, 3)
    found = evaluate(lambda x: mb.reduce_argmax(x=x, axis=1, output_dtype="uint16"), x=x)
    assert_close(found, np.argmax(x, 1), 0)
