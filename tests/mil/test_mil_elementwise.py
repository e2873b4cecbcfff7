"""Elementwise operations against numpy, which shares no code with torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS17, assert_close, checks, evaluate, normal

UNARY = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": np.vectorize(math.erf),
    "exp": np.exp,
    "exp2": np.exp2,
    "floor": np.floor,
    "round": np.rint,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
}
BINARY = {
    "add": np.add,
    "floor_div": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "real_div": np.true_divide,
    "sub": np.subtract,
}
COMPARISONS = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "not_equal": np.not_equal,
}
LOGICAL = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


@checks(*UNARY, against="numpy")
@pytest.mark.parametrize("op_type", UNARY)
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_unary_operations_equal_numpy(op_type, opset):
    x = np.linspace(-0.95, 0.95, 24, dtype=np.float32).reshape(2, 3, 4)
    found = evaluate(lambda x: getattr(mb, op_type)(x=x), opset, x=x)
    assert_close(found, UNARY[op_type](x.astype(np.float64)), 3e-7)


@checks("sqrt", "log", "rsqrt", "inverse", against="numpy")
@pytest.mark.parametrize("flexible", [None, (None, None)])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_roots_logarithms_and_reciprocals_add_epsilon_first(flexible, opset):
    x = np.array([[0.25, 1.0, 3.0], [0.5, 7.0, 100.0]], np.float32)
    wide = x.astype(np.float64)
    expected = {
        "sqrt": np.sqrt(wide),
        "log": np.log(wide + 0.5),
        "rsqrt": 1 / np.sqrt(wide + 0.5),
        "inverse": 1 / (wide + 0.5),
    }
    for op_type, value in expected.items():
        epsilon = {} if op_type == "sqrt" else {"epsilon": np.float32(0.5)}
        found = evaluate(
            lambda x, op_type=op_type, epsilon=epsilon: getattr(mb, op_type)(x=x, **epsilon),
            opset,
            flexible={"x": flexible} if flexible else None,
            x=x,
        )
        assert_close(found, value, 3e-7)


@checks("inverse", "rsqrt", against="arithmetic")
def test_documented_epsilons_are_the_defaults():
    zero = np.zeros((1,), np.float32)
    assert_close(evaluate(lambda x: mb.inverse(x=x), x=zero), [1e4])
    assert_close(evaluate(lambda x: mb.rsqrt(x=x), x=zero), [1e6])


@checks("round", against="arithmetic")
def test_half_is_rounded_to_even():
    x = np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    assert evaluate(lambda x: mb.round(x=x), x=x).tolist() == [-2, 0, 0, 2, 2]


@checks("clip", "threshold", against="arithmetic")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_clip_and_threshold_limit_values(opset):
    x = np.array([-3.0, 0.5, 9.0], np.float32)
    clip, threshold = evaluate(
        lambda x: (mb.clip(x=x, alpha=-1.0, beta=2.0), mb.threshold(x=x, alpha=0.75)),
        opset,
        x=x,
    )
    assert clip.tolist() == [-1.0, 0.5, 2.0]
    assert threshold.tolist() == [0.75, 0.75, 9.0]


@checks("cast", against="arithmetic")
@pytest.mark.parametrize(
    ("dtype", "expected", "opset"),
    [
        ("int32", [-2, 0, 0, 2, 300], IOS15),
        ("bool", [True, True, False, True, True], IOS15),
        ("fp16", [-2.7, -0.3, 0, 2.5, 300], IOS15),
        ("int32", [-2, 0, 0, 2, 300], IOS17),
        ("uint16", [65534, 0, 0, 2, 300], IOS17),
        ("int16", [-2, 0, 0, 2, 300], IOS17),
    ],
)
def test_cast_cuts_fractions_off(dtype, expected, opset):
    x = np.array([-2.7, -0.3, 0.0, 2.5, 300.0], np.float32)
    found = evaluate(lambda x: mb.cast(x=x, dtype=dtype), opset, x=x)
    assert_close(found, np.array(expected, found.dtype))


@checks("cast", against="arithmetic")
def test_cast_to_eight_bits_and_back():
    x = np.array([-7.9, 0.0, 100.2], np.float32)
    found = evaluate(
        lambda x: mb.cast(x=mb.cast(x=mb.cast(x=x, dtype="int8"), dtype="int32"), dtype="fp32"),
        x=x,
    )
    assert found.tolist() == [-7, 0, 100]


@checks("logical_not", against="numpy")
def test_logical_not_equals_numpy():
    x = np.array([True, False])
    assert evaluate(lambda x: mb.logical_not(x=x), x=x).tolist() == [False, True]


@checks(*BINARY, against="numpy")
@pytest.mark.parametrize("op_type", BINARY)
def test_binary_operations_equal_numpy_with_broadcasting(op_type):
    x, y = normal(2, 1, 4), normal(3, 1, seed=1) * 2
    found = evaluate(lambda x, y: getattr(mb, op_type)(x=x, y=y), x=x, y=y)
    assert_close(found, BINARY[op_type](x, y), 3e-7)


@checks(*(set(BINARY) - {"real_div"}), against="numpy")
@pytest.mark.parametrize("op_type", sorted(set(BINARY) - {"real_div"}))
def test_binary_operations_equal_numpy_on_integers(op_type):
    x, y = np.array([7, -7, 3, 0], np.int32), np.array([2, 2, -5, 4], np.int32)
    found = evaluate(lambda x, y: getattr(mb, op_type)(x=x, y=y), x=x, y=y)
    assert found.dtype == np.int32
    assert found.tolist() == BINARY[op_type](x, y).tolist()


@checks(*COMPARISONS, against="numpy")
@pytest.mark.parametrize("op_type", COMPARISONS)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_comparisons_equal_numpy(op_type, dtype):
    x, y = np.array([[1, 2, 3]], dtype), np.array([[2], [3]], dtype)
    found = evaluate(lambda x, y: getattr(mb, op_type)(x=x, y=y), x=x, y=y)
    assert found.dtype == np.bool_
    assert found.tolist() == COMPARISONS[op_type](x, y).tolist()


@checks(*LOGICAL, against="numpy")
@pytest.mark.parametrize("op_type", LOGICAL)
def test_logical_operations_equal_numpy(op_type):
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    found = evaluate(lambda x, y: getattr(mb, op_type)(x=x, y=y), x=x, y=y)
    assert found.tolist() == LOGICAL[op_type](x, y).tolist()


@checks("pow", against="numpy")
def test_pow_equals_numpy():
    x, y = np.abs(normal(3, 4)) + 0.1, normal(4, seed=1)
    found = evaluate(lambda x, y: mb.pow(x=x, y=y), x=x, y=y)
    assert_close(found, np.power(x.astype(np.float64), y), 5e-7)


@checks("select", against="numpy")
def test_select_equals_numpy_where():
    cond, a, b = np.array([[True], [False]]), normal(1, 3), normal(2, 3, seed=1)
    found = evaluate(lambda cond, a, b: mb.select(cond=cond, a=a, b=b), cond=cond, a=a, b=b)
    assert_close(found, np.where(cond, a, b), 0)
