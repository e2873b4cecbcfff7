"""Where quantize/dequantize pairs go: around which ops, after which, and how often."""

from __future__ import annotations

import pytest

from coreml_assay.conformance.activation_quantizing import CONV, quantize, with_options
from coreml_assay.conformance.quantizing import Configuration
from coreml_assay.conformance.subject import Subject
from coreml_assay.implementations import predicting
from coreml_assay.mil.activation_samples import data
from coreml_assay.mil.pairs import op_types
from coreml_assay.mil.program import load_program

PAIR = ["quantize", "dequantize"]
KINDS = [(mode, dtype) for mode in ("linear_symmetric", "linear") for dtype in ("int8", "uint8")]


@pytest.mark.clause("A.4", "A.6")
@pytest.mark.parametrize(
    ("op", "body"),
    [
        ("conv", "one_conv"),
        ("linear", "lambda x: linear(x, 'a')"),
        ("avg_pool", "pool"),
        ("max_pool", "lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type='valid', name='a')"),
        ("add", "lambda x, y: mb.add(x=x, y=y, name='a')"),
    ],
)
def test_inputs_and_results_are_quantized(coreml_subject: Subject, op: str, body: str) -> None:
    count = 2 if op == "add" else 1
    found = quantize(coreml_subject, f"program({body}, [SHAPE] * {count})")
    types = [each for each in found.op_types() if each != "cast"]
    place = types.index(op)
    coreml_subject.expect_equal(sorted(types[:place]), sorted(PAIR * count), "what comes before")
    coreml_subject.expect_equal(types[place + 1 :], PAIR, "what comes after")


@pytest.mark.clause("A.4")
@pytest.mark.parametrize(
    "body",
    [
        "lambda x: mb.softmax(x=x, axis=1, name='a')",
        "lambda x: mb.relu(x=x, name='a')",
        "lambda x: mb.mul(x=x, y=x, name='a')",
        "lambda x: mb.matmul(x=x, y=x, transpose_y=True, name='a')",
        "lambda x: mb.concat(values=[x, x], axis=1, name='a')",
    ],
    ids=["softmax", "relu", "mul", "matmul", "concat"],
)
def test_other_ops_are_left(coreml_subject: Subject, body: str) -> None:
    found = quantize(coreml_subject, f"program({body})")
    coreml_subject.expect_equal(found.quantized(), [], "the tensors quantized")


@pytest.mark.clause("A.5")
@pytest.mark.parametrize("constant", ["x", "y"])
def test_an_addition_of_a_constant_is_left(coreml_subject: Subject, constant: str) -> None:
    other = "y" if constant == "x" else "x"
    body = f"lambda x: mb.add({constant}=np.float16(1), {other}=x, name='a')"
    found = quantize(coreml_subject, f"program({body})")
    coreml_subject.expect_equal(found.quantized(), [], "the tensors quantized")


@pytest.mark.clause("A.3")
@pytest.mark.parametrize(("mode", "dtype"), KINDS)
def test_a_pair_goes_to_codes_and_back(coreml_subject: Subject, mode: str, dtype: str) -> None:
    # Zero is not in the middle: where it is, the other type with a shifted zero point is equal.
    found = quantize(
        coreml_subject,
        CONV,
        "[{'x': spread(-1, 3)}]",
        with_options(mode=mode, dtype=dtype),
    )
    coreml_subject.expect_equal(found.pairs()[0].codes, dtype, "the type of the codes")
    for pair in found.pairs():
        coreml_subject.expect_equal(pair.restores, (True,), "whether dequantize is the inverse")
        coreml_subject.expect_equal(pair.scale.shape, (), f"the scale's shape of {pair.tensor}")


@pytest.mark.clause("A.6")
@pytest.mark.parametrize(
    "activation",
    [
        "mb.relu(x=conv(x, 'a'), name='act')",
        "mb.relu6(x=conv(x, 'a'), name='act')",
        "mb.leaky_relu(x=conv(x, 'a'), alpha=0.5, name='act')",
        "mb.tanh(x=conv(x, 'a'), name='act')",
        "mb.scaled_tanh(x=conv(x, 'a'), alpha=2., beta=.5, name='act')",
        "mb.sigmoid(x=conv(x, 'a'), name='act')",
    ],
    ids=lambda text: text[3 : text.index("(")],
)
def test_an_activation_counts_as_part_of_the_op_before(
    coreml_subject: Subject, activation: str
) -> None:
    found = quantize(coreml_subject, f"program(lambda x: {activation})")
    coreml_subject.expect_equal(found.quantized(), ["x_to_fp16", "act"], "the tensors quantized")


@pytest.mark.clause("A.6")
@pytest.mark.parametrize(
    "op",
    [
        "mb.softmax(x=conv(x, 'a'), axis=1, name='act')",
        "mb.sigmoid_hard(x=conv(x, 'a'), alpha=.5, beta=.5, name='act')",
        "mb.gelu(x=conv(x, 'a'), mode='EXACT', name='act')",
        "mb.clip(x=conv(x, 'a'), alpha=np.float16(0), beta=np.float16(6), name='act')",
    ],
    ids=lambda text: text[3 : text.index("(")],
)
def test_other_ops_do_not(coreml_subject: Subject, op: str) -> None:
    found = quantize(coreml_subject, f"program(lambda x: {op})")
    coreml_subject.expect_equal(found.quantized(), ["x_to_fp16", "a"], "the tensors quantized")


@pytest.mark.clause("A.7")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("one_conv", [*PAIR, "conv"]),
        ("lambda x: mb.relu(x=conv(x, 'a'), name='r')", [*PAIR, "conv", *PAIR, "relu"]),
    ],
    ids=["op", "fused activation"],
)
def test_what_is_only_an_output_is_not_quantized(
    coreml_subject: Subject, body: str, expected: list[str]
) -> None:
    # In float16 with integer values, so that no scale is rounded.
    inputs = "{'x': placeholder(SHAPE, np.float16)}"
    model = f"program({body}, inputs={inputs}, dtype='of the input')"
    found = quantize(coreml_subject, model, "data(127)")
    coreml_subject.expect_equal(found.op_types(), expected, "the sequence of ops")


@pytest.mark.clause("A.8")
@pytest.mark.parametrize(("mode", "dtype"), KINDS)
def test_ops_in_a_row_have_one_pair_between_them(
    coreml_subject: Subject, mode: str, dtype: str
) -> None:
    found = quantize(
        coreml_subject, "program(two_convs)", configuration=with_options(mode=mode, dtype=dtype)
    )
    expected = ["cast", *PAIR, "conv", *PAIR, "conv", *PAIR, "cast"]
    coreml_subject.expect_equal(found.op_types(), expected, "the sequence of ops")


@pytest.mark.clause("A.8")
@pytest.mark.parametrize(("mode", "dtype"), KINDS)
def test_a_tensor_is_quantized_once_however_many_take_it(
    coreml_subject: Subject, mode: str, dtype: str
) -> None:
    found = quantize(
        coreml_subject, "program(branches)", configuration=with_options(mode=mode, dtype=dtype)
    )
    coreml_subject.expect_equal(
        sorted(found.quantized()), ["a", "b", "c", "x_to_fp16"], "the tensors quantized"
    )


@pytest.mark.clause("A.9")
def test_quantizing_twice_adds_nothing(coreml_subject: Subject) -> None:
    once = quantize(coreml_subject, "program(two_convs)", "data(1)")
    coreml_subject.extend_snippet(
        f"with predicting(load_implementation({coreml_subject.loaded_as!r})):\n"
        "    again = cto.coreml.linear_quantize_activations(quantized, config, samples)\n"
        "print(*described(load_program(again)), sep='\\n')\n"
    )
    coreml = coreml_subject.coreml
    with coreml_subject.recording(), predicting(coreml_subject.implementation):
        config = coreml.OptimizationConfig(global_config=coreml.OpLinearQuantizerConfig())
        again = coreml.linear_quantize_activations(once.model, config, data(1))
        found = op_types(load_program(again))
    coreml_subject.expect_equal(found, once.op_types(), "the sequence of ops")


LEFT_OUT = {
    "nothing": (Configuration(), []),
    "by type": (Configuration({}, {"conv": None}), []),
    "by name": (Configuration({}, {}, {"a": None}), ["a", "b"]),
    "but by name": (Configuration({}, {"conv": None}, {"b": {}}), ["a", "b"]),
    "only a type": (Configuration(None, {"conv": {}}), ["x_to_fp16", "a", "b"]),
}


@pytest.mark.clause("A.2")
@pytest.mark.parametrize("case", LEFT_OUT)
def test_an_ops_name_comes_before_its_type_and_that_before_all(
    coreml_subject: Subject, case: str
) -> None:
    configuration, expected = LEFT_OUT[case]
    found = quantize(coreml_subject, "program(two_convs)", configuration=configuration)
    coreml_subject.expect_equal(found.quantized(), expected, "the tensors quantized")


@pytest.mark.clause("A.2")
def test_each_op_has_the_codes_of_its_own_configuration(coreml_subject: Subject) -> None:
    configuration = Configuration({"dtype": "uint8"}, {}, {"b": {"mode": "linear"}})
    found = quantize(coreml_subject, "program(two_convs)", configuration=configuration)
    codes = [(pair.tensor, pair.codes) for pair in found.pairs()]
    expected = [("x_to_fp16", "uint8"), ("a", "int8"), ("b", "int8")]
    coreml_subject.expect_equal(codes, expected, "the tensors quantized, with their codes")


@pytest.mark.clause("A.10")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("only_branches", []),
        ("with_branches", ["x_to_fp16", "before", "yes", "no_r", "chosen", "after"]),
        ("with_loop", ["a loop variable", "t"]),
    ],
    ids=["without", "condition", "loop"],
)
def test_ops_in_inner_blocks_are_quantized_too(
    coreml_subject: Subject, body: str, expected: list[str]
) -> None:
    both_ways = "[{'x': sign * np.abs(integers(*SHAPE))} for sign in (1, -1)]"
    found = quantize(coreml_subject, f"program({body})", both_ways)
    shown = found.quantized()
    if body == "with_loop":  # names of loop variables are arbitrary
        shown, expected = shown[1:], expected[1:]
    coreml_subject.expect_equal(sorted(shown), sorted(expected), "the tensors quantized")


@pytest.mark.clause("A.11")
def test_integers_are_left(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, "program(with_integers)")
    coreml_subject.expect_equal(
        sorted(found.quantized()), ["a", "f", "sum", "x_to_fp16"], "the tensors quantized"
    )


@pytest.mark.clause("A.12")
def test_an_output_that_feeds_an_op_is_quantized_for_it(coreml_subject: Subject) -> None:
    found = quantize(coreml_subject, "program(output_in_the_middle, dtype='fp32')", "data(127)")
    coreml_subject.expect_equal(found.quantized(), ["x", "r"], "the tensors quantized")
    outputs = [feature.name for feature in found.model.get_spec().description.output]
    coreml_subject.expect_equal(outputs, ["r", "b"], "the names of the outputs")
