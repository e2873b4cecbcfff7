"""Branches, loops, lists and states, by programs whose results are known."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import get_new_symbol, types
from mil_helpers import IOS18, assert_close, checks, evaluate, normal

from coreml_assay.mil.errors import EvaluationError
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.precision import Precision


@checks("cond", against="arithmetic")
@pytest.mark.parametrize(("limit", "expected"), [(0.0, [3.0, 4.0]), (9.0, [-1.0, 0.0])])
def test_cond_runs_one_branch(limit, expected):
    def build(x, limit):
        larger = mb.greater(x=mb.reduce_sum(x=x), y=mb.squeeze(x=limit))
        return mb.cond(
            pred=larger,
            _true_fn=lambda: mb.add(x=x, y=np.float32(2.0)),
            _false_fn=lambda: mb.sub(x=x, y=np.float32(2.0)),
        )

    x = np.array([1.0, 2.0], np.float32)
    found = evaluate(build, x=x, limit=np.array([limit], np.float32))
    assert found.tolist() == expected


@checks("while_loop", against="arithmetic")
def test_while_loop_runs_until_its_condition_fails():
    def build(n):
        one = mb.identity(x=n)
        return mb.while_loop(
            _cond=lambda n, product: mb.greater(x=n, y=np.int32(1)),
            _body=lambda n, product: (
                mb.sub(x=n, y=np.int32(1)),
                mb.mul(x=product, y=n),
            ),
            loop_vars=(mb.squeeze(x=one), np.int32(1)),
        )

    n, factorial = evaluate(build, n=np.array([5], np.int32))
    assert (n.item(), factorial.item()) == (1, 120)


@checks("while_loop", "cond", against="arithmetic")
def test_blocks_nest_and_see_what_is_around_them():
    def build(x):
        def body(i, total):
            even = mb.equal(x=mb.mod(x=i, y=np.int32(2)), y=np.int32(0))
            step = mb.cond(
                pred=even, _true_fn=lambda: mb.add(x=x, y=x), _false_fn=lambda: mb.identity(x=x)
            )
            return mb.add(x=i, y=np.int32(1)), mb.add(x=total, y=step)

        return mb.while_loop(
            _cond=lambda i, total: mb.less(x=i, y=np.int32(3)),
            _body=body,
            loop_vars=(np.int32(0), mb.mul(x=x, y=np.float32(0.0))),
        )[1]

    x = np.array([1.0, -2.0], np.float32)
    assert evaluate(build, x=x).tolist() == [5.0, -10.0]  # twice, once and twice


@checks(
    "make_list",
    "list_write",
    "list_read",
    "list_gather",
    "list_scatter",
    "list_length",
    against="arithmetic",
)
@pytest.mark.parametrize("precision", Precision)
def test_lists_are_written_and_read(precision):
    def build(x, rows):
        empty = mb.make_list(init_length=2, elem_shape=(3,), dtype="fp32")
        written = mb.list_write(ls=empty, index=1, value=x)
        scattered = mb.list_scatter(ls=written, indices=np.array([0, 3], np.int32), value=rows)
        return (
            mb.list_read(ls=written, index=0),
            mb.list_gather(ls=scattered, indices=np.array([3, 1, 2], np.int32)),
            mb.list_length(ls=written),
            mb.list_length(ls=scattered),
        )

    x, rows = normal(3), normal(2, 3, seed=1)
    first, gathered, length, longer = evaluate(build, precision=precision, x=x, rows=rows)
    assert first.tolist() == [0, 0, 0]
    assert_close(gathered, np.stack([rows[1], x, np.zeros(3)]), 0)
    assert (length.item(), longer.item()) == (2, 4)


def test_reading_past_a_list_is_an_error_that_names_the_place():
    def build(x):
        empty = mb.make_list(init_length=1, elem_shape=(3,), dtype="fp32")
        written = mb.list_write(ls=empty, index=0, value=x)
        return mb.list_read(ls=written, index=4, name="too_far")

    with pytest.raises(EvaluationError, match=r"'too_far', in function 'main'.* index 4"):
        evaluate(build, x=normal(3))


def test_lists_of_fixed_length_do_not_grow():
    def build(x):
        fixed = mb.make_list(init_length=2, dynamic_length=False, elem_shape=(3,), dtype="fp32")
        return mb.list_length(ls=mb.list_write(ls=fixed, index=2, value=x))

    with pytest.raises(EvaluationError, match="list index 2 is past the fixed length 2"):
        evaluate(build, x=normal(3))


def test_elements_of_unknown_shape_are_not_read_before_they_are_written():
    get_new_symbol("rows")

    def build(x):
        empty = mb.make_list(init_length=2, elem_shape=("rows",), dtype="fp32")
        written = mb.list_write(ls=empty, index=0, value=x)
        return mb.list_read(ls=written, index=1)

    with pytest.raises(EvaluationError, match="element 1 was never written"):
        evaluate(build, x=normal(3), flexible={"x": (None,)})


def counter():
    """A program that adds its input to a state."""

    @mb.program(
        input_specs=[mb.TensorSpec((2,)), mb.StateTensorSpec((2,), dtype=types.fp16)],
        opset_version=IOS18,
    )
    def main(x, total):
        added = mb.add(x=mb.read_state(input=total), y=mb.cast(x=x, dtype="fp16"))
        return mb.coreml_update_state(state=total, value=added, name="sum")

    return main


@checks("read_state", "coreml_update_state", against="arithmetic")
def test_states_keep_their_content_between_runs():
    evaluator = Evaluator(counter())
    x = {"x": np.array([1.0, 2.0], np.float32)}
    state = evaluator.make_state()
    assert evaluator.predict(x, state)["sum"].tolist() == [1, 2]
    assert evaluator.predict(x, state)["sum"].tolist() == [2, 4]
    assert evaluator.predict(x)["sum"].tolist() == [1, 2]
    assert state["total"].value.tolist() == [2, 4]


def test_states_are_rounded_like_other_values():
    evaluator = Evaluator(counter(), Precision.FLOAT16)
    state = evaluator.make_state()
    for _ in range(2):
        evaluator.predict({"x": np.array([2048.0, 1.0], np.float32)}, state)
        evaluator.predict({"x": np.array([1.0, 1e-4], np.float32)}, state)
    # fp16 holds no odd number above 2048, nor 1.0001.
    assert state["total"].value.tolist() == [4096.0, 2.0]


def test_states_are_checked():
    evaluator = Evaluator(counter())
    x = {"x": np.zeros(2, np.float32)}
    with pytest.raises(ValueError, match="missing state 'total'"):
        evaluator.predict(x, {})
    with pytest.raises(ValueError, match="no state is named 'totals'; did you mean 'total'"):
        evaluator.predict(x, {"totals": evaluator.make_state()["total"]})
