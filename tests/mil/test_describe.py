"""Two programs have equal descriptions exactly when they are the same program."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

from coreml_assay.mil.describe import describe, digest, first_difference, operation_counts
from coreml_assay.mil.program import load_program
from coreml_assay.mil.samples import TARGETS, Weight, build_model, single

W = np.arange(12, dtype=np.float32).reshape(3, 4)


def program(body, shape=(2, 4), dtype=types.fp32, target="iOS18", name="x"):
    function = Function(
        {name: mb.placeholder(shape=shape, dtype=dtype)}, opset_version=TARGETS[target]
    )
    with function:
        function.set_outputs([body(function.inputs[name])])
    made = Program()
    made.add_function("main", function)
    return made


def linear(weight=W, name="y", weight_name="w", bias=(1, 2, 3)):
    return lambda x: mb.linear(
        x=x,
        weight=mb.const(val=weight, name=weight_name),
        bias=mb.const(val=np.array(bias, weight.dtype), name="b"),
        name=name,
    )


def changed(index, value):
    other = W.copy()
    other[index] = value
    return other


def test_a_line_for_each_operation():
    content = hashlib.sha256(W.tobytes()).hexdigest()
    assert describe(program(linear())) == [
        "function main(x: fp32[2, 4]) for iOS18",
        f"linear y(bias=b:fp32[3] [1.0, 2.0, 3.0], weight=w:fp32[3, 4] sha256:{content}, x=x) "
        "-> y: fp32[2, 3]",
        "outputs y",
    ]


def test_the_same_program_made_twice_has_the_same_description():
    assert describe(program(linear())) == describe(program(linear()))
    assert digest(program(linear())) == digest(program(linear()))


DIFFERENT = {
    "one bit of a constant": program(linear(changed((0, 0), -0.0))),
    "one value of a constant": program(linear(changed((2, 3), 11.5))),
    "a short constant": program(linear(bias=(1, 2, 4))),
    "the dtype of a constant": program(linear(W.astype(np.float16)), dtype=types.fp16),
    "the name of a constant": program(linear(weight_name="v")),
    "the name of an operation": program(linear(name="z")),
    "the name of an input": program(linear(), name="in"),
    "the shape of an input": program(linear(), shape=(5, 4)),
    "the target": program(linear(), target="iOS17"),
    "an operation more": program(lambda x: mb.relu(x=linear()(x), name="r")),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_any_difference_shows(what):
    assert describe(DIFFERENT[what]) != describe(program(linear()))
    assert digest(DIFFERENT[what]) != digest(program(linear()))


def test_an_attribute_shows():
    plain, transposed = (
        program(
            lambda x, t=t: mb.matmul(x=x, y=np.eye(4, dtype=np.float32), transpose_y=t, name="y")
        )
        for t in (False, True)
    )
    assert describe(plain) != describe(transposed)


def test_the_order_of_listed_inputs_shows():
    one, other = (
        program(
            lambda x, order=order: mb.concat(
                values=[(x, mb.relu(x=x, name="r"))[i] for i in order], axis=0, name="y"
            )
        )
        for order in ((0, 1), (1, 0))
    )
    assert "values=[x, r]" in describe(one)[-2]
    assert "values=[r, x]" in describe(other)[-2]


def branches(true, false):
    """A program that returns one value or another: ``r``, ``s``, or a constant of that number."""

    def body(x):
        one, two = (mb.const(val=np.float32(i), name=f"c{i}") for i in (1, 2))
        small = mb.less(x=one, y=two, name="small")
        values = {"r": mb.relu(x=x, name="r"), "s": mb.sigmoid(x=x, name="s")}

        def branch(which):
            if which in values:
                return lambda: mb.identity(x=values[which], name="i")
            return lambda: mb.const(val=np.full((2, 4), which, np.float32), name="c")

        return mb.cond(pred=small, _true_fn=branch(true), _false_fn=branch(false), name="y")

    return program(body)


@pytest.mark.parametrize("other", [("s", "r"), ("r", "r"), ("r", 1)])
def test_what_a_branch_returns_shows(other):
    assert describe(branches("r", "s")) == describe(branches("r", "s"))
    assert describe(branches("r", "s")) != describe(branches(*other))


def test_a_constant_that_a_branch_returns_shows():
    assert describe(branches("r", 1)) == describe(branches("r", 1))
    assert describe(branches("r", 1)) != describe(branches("r", 2))


def test_nested_blocks_come_before_the_operation_that_holds_them():
    lines = describe(branches("r", "s"))
    kinds = [re.match(r"\w+", line)[0] for line in lines]
    assert kinds[kinds.index("sigmoid") + 1 :] == [
        *["block", "identity", "outputs"] * 2,
        "cond",
        "outputs",
    ]


def test_the_symbols_of_flexible_shapes_are_numbered_by_first_appearance():
    def flexible():
        return program(
            lambda x: mb.relu(x=x, name="y"), shape=(get_new_symbol(), 3, get_new_symbol())
        )

    one, other = flexible(), flexible()
    assert one.functions["main"].inputs["x"].shape != other.functions["main"].inputs["x"].shape
    assert describe(one) == describe(other)
    assert describe(one)[0] == "function main(x: fp32[s0, 3, s1]) for iOS18"


def test_a_name_that_looks_like_a_symbol_is_kept():
    one, other = (program(lambda x, n=n: mb.relu(x=x, name=n)) for n in ("is3", "is4"))
    assert describe(one)[-1] == "outputs is3"
    assert describe(one) != describe(other)


def test_a_model_written_and_read_has_the_same_description():
    model = build_model([Weight("a", W, "linear"), Weight("b", W, "matmul_y")])
    assert describe(load_program(model)) == describe(load_program(model))


def test_operations_are_counted_without_constants_and_headings():
    assert operation_counts(load_program(single(W))) == {"linear": 1}
    assert operation_counts(branches("r", "s")) == {
        "cond": 1,
        "identity": 2,
        "less": 1,
        "relu": 1,
        "sigmoid": 1,
    }


@pytest.mark.parametrize(
    ("expected", "found", "sentence"),
    [
        (["a", "b"], ["a", "b"], None),
        (["a", "b"], ["a", "c"], "line 1: expected b; found c"),
        (["a"], ["a", "c"], "line 1: expected nothing more; found c"),
        (["a", "b"], ["a"], "line 1: expected b; found nothing"),
    ],
)
def test_the_first_difference_is_one_sentence(expected, found, sentence):
    assert first_difference(expected, found) == sentence
