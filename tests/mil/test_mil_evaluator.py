"""The evaluator itself: precisions, taps, freeing, and what it says when something is wrong."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
from mil_helpers import IOS16, IOS17, IOS18, normal, program

from coreml_assay.mil import evaluator as evaluator_module
from coreml_assay.mil import ops
from coreml_assay.mil.errors import EvaluationError, UnsupportedOperation
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.precision import Precision


def chain(opset=IOS17):
    """Squares in fp16, halved in fp32: (x * x) / 2."""

    def build(x):
        half = mb.cast(x=x, dtype="fp16", name="half")
        squared = mb.mul(x=half, y=half, name="squared")
        return mb.mul(x=mb.cast(x=squared, dtype="fp32"), y=np.float32(0.5), name="result")

    return program(build, {"x": np.zeros((2,), np.float32)}, opset)


def test_fp16_overflows_where_fp16_does():
    x = {"x": np.array([256.0, 3.0], np.float32)}
    wide = Evaluator(chain()).predict(x)["result"]
    narrow = Evaluator(chain(), Precision.FLOAT16).predict(x)["result"]
    assert wide.tolist() == [32768.0, 4.5]
    assert narrow.tolist() == [np.inf, 4.5]


def test_fp16_overflows_from_halfway_to_the_number_it_lacks():
    # 65504 is the largest; 65520 lies halfway to 65536 and is no longer rounded down.
    def build(x):
        return mb.linear(x=mb.cast(x=x, dtype="fp16"), weight=np.ones((1, 2), np.float16))

    pairs = np.array([[65472, 32], [65472, 47], [65472, 48], [-65472, -48], [60000, 60000]])
    prog = program(build, {"x": np.zeros(pairs.shape, np.float32)}, IOS16)
    x = {"x": pairs.astype(np.float32)}
    (narrow,) = Evaluator(prog, Precision.FLOAT16).predict(x).values()
    (wide,) = Evaluator(prog).predict(x).values()
    assert narrow.ravel().tolist() == [65504, 65504, np.inf, -np.inf, np.inf]
    assert wide.ravel().tolist() == [65504, 65519, 65520, -65520, 120000]


def test_fp16_rounds_fp16_values_alone():
    x = {"x": np.array([1.0009765, 1e-8], np.float32)}
    narrow = Evaluator(chain(), Precision.FLOAT16).predict(x)["result"]
    first = np.float16(np.float32(np.float16(1.0009765)) ** 2).astype(np.float32) * np.float32(0.5)
    assert narrow.tolist() == [first, 0.0]


def test_fp16_inputs_are_rounded_in_fp16_only():
    prog = program(lambda x: mb.identity(x=x, name="y"), {"x": np.zeros(1, np.float16)}, IOS16)
    x = {"x": np.array([1.0001], np.float32)}
    assert Evaluator(prog, Precision.FLOAT16).predict(x)["y"].item() == 1.0
    assert Evaluator(prog).predict(x)["y"].item() == np.float32(1.0001)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (Precision.FLOAT32, np.float32),
        (Precision.FLOAT16, np.float32),
        (Precision.FLOAT64, np.float64),
    ],
)
def test_results_have_the_dtype_of_the_precision(precision, dtype):
    found = Evaluator(chain(), precision).predict({"x": np.ones(2, np.float32)})
    assert found["result"].dtype == dtype


def test_float64_keeps_what_float32_would_lose():
    def build(x):
        scale, data = np.full((1,), 0.1, np.float32), np.array([3], np.int8)
        weight = mb.constexpr_blockwise_shift_scale(data=data, scale=scale)
        return mb.identity(x=x, name="same"), mb.add(x=mb.sub(x=x, y=x), y=weight, name="weight")

    prog = program(build, {"x": np.zeros(1, np.float32)}, IOS18)
    found = Evaluator(prog, Precision.FLOAT64).predict({"x": np.array([1 / 3])})
    assert found["same"].item() == 1 / 3
    assert found["weight"].item() == 3 * float(np.float32(0.1))


def test_runs_repeat_bit_for_bit():
    prog = program(
        lambda x: mb.linear(x=x, weight=normal(64, 300, seed=1)), {"x": normal(7, 300)}, IOS16
    )
    evaluator, x = Evaluator(prog), {"x": normal(7, 300)}
    first, second = (next(iter(evaluator.predict(x).values())) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_inputs_are_left_as_they_are():
    x = np.array([1.0, 2.0], np.float32)
    Evaluator(chain()).predict({"x": x})
    assert x.tolist() == [1.0, 2.0]


def test_taps_show_any_value():
    seen = {}
    evaluator = Evaluator(chain())
    evaluator.run({"x": np.array([3.0, 1.0], np.float32)}, tap=seen.__setitem__)
    assert set(seen) == {"x", *evaluator.values}
    assert seen["squared"].tolist() == [9.0, 1.0]


def test_taps_may_be_chosen():
    seen = []
    Evaluator(chain()).run(
        {"x": np.ones(2, np.float32)}, tap=lambda name, tensor: seen.append(name), taps={"squared"}
    )
    assert seen == ["squared"]


def test_taps_in_a_loop_are_called_each_time():
    def build(x):
        return mb.while_loop(
            _cond=lambda n: mb.less(x=n, y=np.float32(3.0)),
            _body=lambda n: mb.add(x=n, y=np.float32(1.0), name="next"),
            loop_vars=(mb.squeeze(x=x),),
        )

    prog = program(build, {"x": np.zeros(1, np.float32)})
    seen = []
    Evaluator(prog).run(
        {"x": np.zeros(1, np.float32)}, lambda name, tensor: seen.append(tensor.item()), {"next"}
    )
    assert seen == [1.0, 2.0, 3.0]


def test_values_are_freed_after_their_last_use(monkeypatch):
    def build(x):
        a = mb.relu(x=x, name="a")
        b = mb.add(x=a, y=a, name="b")
        c = mb.add(x=b, y=np.float32(1.0), name="c")
        return mb.add(x=a, y=c, name="d")

    prog = program(build, {"x": np.zeros(2, np.float32)})
    evaluator = Evaluator(prog)
    held = {}
    run_step = evaluator_module._results

    def watching(step, slots, watch):
        held[step.name] = {
            name for name, slot in places.items() if isinstance(slots[slot], torch.Tensor)
        }
        return run_step(step, slots, watch)

    places = {o.name: o.slot for step in evaluator._plan.body.steps for o in step.outputs}
    places["x"] = evaluator._plan.body.inputs[0]
    monkeypatch.setattr(evaluator_module, "_results", watching)
    evaluator.predict({"x": np.ones(2, np.float32)})
    assert held == {"a": {"x"}, "b": {"a"}, "c": {"a", "b"}, "d": {"a", "c"}}


def test_functions_are_chosen_by_name():
    prog = chain()
    prog.functions["twin"] = prog.functions["main"]
    x = {"x": np.ones(2, np.float32)}
    assert Evaluator(prog, function="twin").predict(x)["result"].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="no function is named 'mian'; did you mean 'main'"):
        Evaluator(prog, function="mian")


BAD_INPUTS = [
    ({}, "missing input 'x'"),
    ({"y": np.ones(2, np.float32)}, "no input is named 'y'; there are 'x'"),
    ({"x": np.ones(2, np.float32), "X1": 0}, "no input is named 'X1'; there are 'x'"),
    ({"x": np.ones(3, np.float32)}, r"input 'x' has shape \(2\), got \(3,\)"),
    ({"x": np.ones((1, 2), np.float32)}, r"input 'x' has shape \(2\), got \(1, 2\)"),
    ({"x": np.ones(2, np.int32)}, r"takes floating-point numbers \(fp32\), got int32"),
    ({"x": ["a", "b"]}, r"takes floating-point numbers \(fp32\), got <U1"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS)
def test_wrong_inputs_are_named_in_one_line(inputs, message):
    with pytest.raises(ValueError, match=message) as caught:
        Evaluator(chain()).predict(inputs)
    assert "\n" not in str(caught.value)


def test_open_lengths_take_anything_and_fixed_ones_do_not():
    prog = program(lambda x: mb.relu(x=x, name="y"), {"x": normal(2, 3)}, flexible={"x": (None, 3)})
    assert Evaluator(prog).predict({"x": normal(7, 3)})["y"].shape == (7, 3)
    with pytest.raises(ValueError, match=re.escape("input 'x' has shape (?, 3), got (7, 4)")):
        Evaluator(prog).predict({"x": normal(7, 4)})


def test_integers_and_booleans_are_not_mixed_up():
    prog = program(lambda i: mb.add(x=i, y=i), {"i": np.zeros(1, np.int32)})
    with pytest.raises(ValueError, match=r"input 'i' takes integers \(int32\), got float32"):
        Evaluator(prog).predict({"i": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match=r"input 'i' takes integers \(int32\), got bool"):
        Evaluator(prog).predict({"i": np.zeros(1, np.bool_)})


def test_unknown_taps_are_refused():
    with pytest.raises(ValueError, match="no value is named 'squarde'; did you mean 'squared'"):
        Evaluator(chain()).run({"x": np.ones(2, np.float32)}, print, ["squarde"])


def test_an_unknown_operation_is_named_with_its_place(monkeypatch):
    known = {name: function for name, function in ops.OPERATIONS.items() if name != "mul"}
    monkeypatch.setattr(ops, "OPERATIONS", known)
    with pytest.raises(UnsupportedOperation) as caught:
        Evaluator(chain())
    message = str(caught.value)
    assert "operation 'mul' (named 'squared', in function 'main')" in message
    assert "docs/operations.md" in message
    assert (caught.value.op_type, caught.value.name) == ("mul", "squared")


def test_an_operation_that_fails_is_named_with_its_place():
    def build(x, y):
        return mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0.0)),
            _true_fn=lambda: mb.matmul(x=x, y=y, name="product"),
            _false_fn=lambda: mb.matmul(x=x, y=y),
        )

    shapes = {"x": (None, None), "y": (None, None)}
    prog = program(build, {"x": normal(2, 3), "y": normal(3, 2)}, flexible=shapes)
    with pytest.raises(EvaluationError) as caught:
        Evaluator(prog).predict({"x": np.ones((2, 3), np.float32), "y": normal(4, 2)})
    message = str(caught.value)
    assert message.startswith("operation 'matmul' (named 'product', in function 'main', block ")
    assert "\n" not in message


def test_results_may_be_changed_without_harm():
    constant = np.array([1.0, 2.0], np.float32)
    prog = program(lambda x: mb.const(val=constant, name="y"), {"x": np.zeros(1, np.float32)})
    evaluator, x = Evaluator(prog), {"x": np.zeros(1, np.float32)}
    evaluator.predict(x)["y"][:] = 7.0
    assert evaluator.predict(x)["y"].tolist() == [1.0, 2.0]


def test_integers_must_fit():
    prog = program(lambda i: mb.add(x=i, y=i, name="y"), {"i": np.zeros(1, np.int32)})
    assert Evaluator(prog).predict({"i": np.array([5], np.int64)})["y"].tolist() == [10]
    with pytest.raises(ValueError, match="input 'i' has values beyond int32"):
        Evaluator(prog).predict({"i": np.array([2**31], np.int64)})


@pytest.mark.parametrize("op_type", sorted({*ops.OPERATIONS} - {"coreml_update_state"}))
def test_functions_take_every_documented_parameter_of_every_opset(op_type):
    function = ops.OPERATIONS[op_type]
    parameters = inspect.signature(function).parameters.values()
    taken = {p.name for p in parameters} - {"blocks"}
    geometry = inspect.signature(ops.OPERATIONS["conv"]).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        taken |= set(geometry)
    needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY}
    for version in SSAOpRegistry.core_ops[op_type].values():
        spec = version.input_spec.input_types
        documented = {name for name in spec if not name.startswith("_")}
        assert documented <= taken
        # What a function cannot do without is required, or filled in by coremltools.
        assert needed - {"blocks", "mode"} <= {n for n in documented if not spec[n].optional}


def filled_in(version):
    """The simple values that coremltools fills in for parameters left out."""
    op = version.__new__(version)
    for name in version.input_spec.input_types:
        setattr(op, name, SimpleNamespace(rank=4, shape=(2, 2, 2, 2), dtype=types.fp32, val=None))
    return {
        name: value
        for name, value in op.default_inputs().items()
        if isinstance(value, bool | int | float | str | np.generic)
    }


@pytest.mark.parametrize("op_type", sorted({*ops.OPERATIONS} - {"coreml_update_state"}))
def test_defaults_are_those_that_coremltools_fills_in(op_type):
    parameters = inspect.signature(ops.OPERATIONS[op_type]).parameters
    for version in SSAOpRegistry.core_ops[op_type].values():
        for name, value in filled_in(version).items():
            default = parameters[name].default if name in parameters else inspect.Parameter.empty
            # None stands for the opsets that do not have the parameter.
            if default is not inspect.Parameter.empty and default is not None:
                assert type(value)(default) == value, f"{op_type}: {name}"


def test_every_core_operation_but_constants_is_supported():
    known = {*ops.OPERATIONS, *ops.CONSTANT_OPERATIONS}
    assert set(SSAOpRegistry.core_ops) - known == {"const", "_const_symbolic"}
    assert known - set(SSAOpRegistry.core_ops) == {"coreml_update_state"}


def test_operations_never_write_to_their_operands():
    x, update = torch.ones(3), torch.zeros(2)
    where = {"begin": torch.tensor([0]), "end": torch.tensor([2])}
    ops.OPERATIONS["slice_update"](x=x, update=update, **where)
    index = torch.tensor([0, 1])
    ops.OPERATIONS["scatter"](data=x, indices=index, updates=update, mode="update")
    ops.OPERATIONS["scatter_along_axis"](data=x, indices=index, updates=update, mode="add")
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_sixteen_unsigned_bits_keep_their_range():
    x = np.array([60000, 5], np.uint16)
    prog = program(lambda x: mb.cast(x=x, dtype="int32", name="y"), {"x": x})
    assert Evaluator(prog).predict({"x": x})["y"].tolist() == [60000, 5]
