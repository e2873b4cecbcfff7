"""The life of a LinearQuantizer: prepare, step by milestones, finalize."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.conformance.linear_quantizing import (
    CONV_BN,
    LINEAR,
    Prepared,
    configure,
    namespace,
    prepare,
    row,
    with_options,
)
from coreml_assay.conformance.strategies import tried_on
from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import build, listening, torch
from coreml_assay.implementations.linear_quantizing import fake_quantizers, make_quantizer

TWO = "model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))"
IMAGE = np.linspace(-2, 3, 2 * 3 * 6 * 6, dtype=np.float32).reshape(2, 3, 6, 6)
OFF, ON = (False,), (True,)


@pytest.mark.clause("L.12")
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_prepare_returns_a_graph_module_in_training(torch_subject: Subject, mode: str) -> None:
    found = prepare(torch_subject, f"{TWO}\nmodel.{mode}()", {}, (1, 3)).model
    is_graph = isinstance(found, torch.fx.GraphModule)
    torch_subject.expect_equal(is_graph, True, "whether it is a torch.fx.GraphModule")
    torch_subject.expect_equal(found.training, True, "whether it is in training")


@pytest.mark.clause("L.12")
def test_prepare_leaves_the_model_as_it_is_unless_inplace(torch_subject: Subject) -> None:
    found = prepare(torch_subject, f"{TWO}\nmodel.eval()", {}, (1, 3))
    x = torch.tensor([[1.0, 2.0, 3.0]])
    torch_subject.expect_equal(found.given.training, False, "whether the given one is in training")
    expected = build(TWO)(x)
    torch_subject.expect_equal(torch.equal(found.given(x), expected), True, "whether it computes")
    names = sorted(found.given.state_dict())
    torch_subject.expect_equal(names, sorted(build(TWO).state_dict()), "its parameters")


@pytest.mark.clause("L.13")
def test_after_preparing_in_place_the_model_itself_is_instrumented(torch_subject: Subject) -> None:
    found = prepare(torch_subject, TWO, {}, (1, 3), inplace=True)
    torch_subject.extend_snippet("model(torch.ones(1, 3))\nprint(prepared.state_dict())\n")
    with torch_subject.recording():
        found.given(torch.ones(1, 3))
    scales = [float(each.scale[0]) for each in found.activations()]
    torch_subject.expect(
        all(scale != 1.0 for scale in scales),
        "running the given model, nothing is observed",
        "scales of what was observed",
        scales,
    )


@pytest.mark.clause("L.14")
@pytest.mark.parametrize(
    "example",
    ["torch.zeros(1, 3)", "(torch.zeros(1, 3),)", "[torch.zeros(1, 3)]", "[1, 3]"],
    ids=["tensor", "tuple", "list", "shape"],
)
def test_example_inputs(torch_subject: Subject, example: str) -> None:
    with torch_subject.recording():
        prepared = _prepare_with(torch_subject, example)
    is_graph = isinstance(prepared, torch.fx.GraphModule)
    torch_subject.expect_equal(is_graph, True, "whether it is a torch.fx.GraphModule")


@pytest.mark.clause("L.14")
@pytest.mark.parametrize("example", ["'image'", "None", "{'x': torch.zeros(1, 3)}", "[1, 'a']"])
def test_other_example_inputs_are_errors(torch_subject: Subject, example: str) -> None:
    namespace(torch_subject)
    torch_subject.expect_raises(
        (ValueError, TypeError), lambda: _prepare_with(torch_subject, example)
    )


def _prepare_with(subject: Subject, example: str) -> Any:
    return configure(
        subject,
        "quantization.LinearQuantizer(torch.nn.Sequential(torch.nn.Linear(3, 4)))"
        f".prepare({example})",
    )


@pytest.mark.clause("L.15")
@pytest.mark.parametrize(
    ("milestones", "state"), [(None, ON), ([0, 1, 2, 3], OFF)], ids=["none", "milestones"]
)
def test_everything_starts_on_without_milestones_else_off(
    torch_subject: Subject, milestones: list[int] | None, state: tuple[bool, ...]
) -> None:
    found = prepare(torch_subject, TWO, with_options(milestones=milestones), (1, 3))
    torch_subject.expect_equal(found.switches(), (state, state), "observing and simulating")


@pytest.mark.clause("L.16")
@tried_on(0.5)
@given(st.lists(st.integers(-1, 4), min_size=4, max_size=4))
def test_each_milestone_switches_at_its_step(torch_subject: Subject, milestones: list[int]) -> None:
    found = prepare(torch_subject, CONV_BN, with_options(milestones=milestones), (2, 3, 6, 6))
    observing = simulating = frozen = seen = False
    for count in range(6):
        # In this order, so that equal milestones combine.
        observing = observing or count == milestones[0]
        simulating = simulating or count == milestones[1]
        observing = observing and count != milestones[2]
        frozen = frozen or count == milestones[3]
        found.step()
        torch_subject.expect_equal(
            found.switches(), ((observing,), (simulating,)), f"what is on after step {count}"
        )
        seen = seen or observing
        if seen or not simulating:  # else there is nothing to simulate by
            torch_subject.expect_equal(
                _statistics_move(found), not frozen, f"whether statistics move after step {count}"
            )


def _statistics_move(found: Prepared) -> bool:
    """Whether a batch changes the running statistics of the batch norm."""
    before = _statistics(found.model)
    found.run(IMAGE)
    return not all(torch.equal(a, b) for a, b in zip(before, _statistics(found.model), strict=True))


def _statistics(model: Any) -> list[Any]:
    return [
        value.clone() for name, value in model.state_dict().items() if ".running_" in f".{name}"
    ]


@pytest.mark.clause("L.16")
def test_a_batch_norm_on_its_own_freezes_too(torch_subject: Subject) -> None:
    source = "model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 4, 3))"
    options = with_options(milestones=[0, -1, -1, 0])
    found = prepare(torch_subject, source, options, (2, 3, 6, 6))
    found.step()
    torch_subject.expect_equal(_statistics_move(found), False, "whether statistics move")


@pytest.mark.clause("L.16")
def test_without_milestones_a_step_changes_nothing(torch_subject: Subject) -> None:
    found = prepare(torch_subject, CONV_BN, {}, (2, 3, 6, 6))
    for count in range(3):
        found.step()
        torch_subject.expect_equal(found.switches(), (ON, ON), f"what is on after step {count}")
        torch_subject.expect_equal(_statistics_move(found), True, "whether statistics move")


@pytest.mark.clause("L.17")
def test_preparing_again_changes_nothing(torch_subject: Subject) -> None:
    found = prepare(torch_subject, TWO, with_options(milestones=[0, 0, -1, -1]), (1, 3))
    found.step()
    torch_subject.extend_snippet("quantizer.prepare((torch.zeros(1, 3),))\nprint(prepared)\n")
    with torch_subject.recording(), listening() as messages:
        again = found.quantizer.prepare((torch.zeros(1, 3),))
    torch_subject.expect_equal(again is found.model, True, "whether the same model is returned")
    torch_subject.expect_equal(found.switches(), (ON, ON), "what is on afterwards")
    torch_subject.expect_equal(bool(messages), True, "whether a warning is given")


@pytest.mark.clause("L.18")
def test_step_and_finalize_before_prepare_warn_and_do_nothing(torch_subject: Subject) -> None:
    quantization = namespace(torch_subject)
    torch_subject.use_snippet(
        "import torch\nquantizer = cto.torch.quantization.LinearQuantizer(torch.nn.Linear(3, 4))\n"
        "quantizer.step()\nprint(quantizer.finalize())\n"
    )
    with torch_subject.recording():
        quantizer = make_quantizer(quantization, build(LINEAR), {})
        with listening() as of_step:
            quantizer.step()
        with listening() as of_finalize:
            model = quantizer.finalize()
    torch_subject.expect_equal(bool(of_step), True, "whether step warns")
    torch_subject.expect_equal(bool(of_finalize), True, "whether finalize warns")
    torch_subject.expect_equal(type(model), torch.nn.Linear, "the type of what finalize returns")


@pytest.mark.clause("L.19")
def test_finalize_changes_a_copy(torch_subject: Subject) -> None:
    found = prepare(torch_subject, TWO, {}, (1, 3))
    found.run(row(1, -2, 3))
    before = {name: value.clone() for name, value in found.model.state_dict().items()}
    finalized = found.finalize()
    after = found.model.state_dict()
    same = before.keys() == after.keys() and all(
        torch.equal(before[name], value) for name, value in after.items()
    )
    torch_subject.expect_equal(same, True, "whether the prepared model stays as it is")
    torch_subject.expect_equal(finalized.training, False, "whether the finalized one is training")
    left = [name for name, _ in fake_quantizers(finalized)]
    torch_subject.expect_equal(left, [], "the fake quantizers in the finalized model")


@pytest.mark.clause("L.19")
def test_what_was_finalized_in_place_can_be_finalized_again(torch_subject: Subject) -> None:
    found = prepare(torch_subject, TWO, {}, (1, 3))
    x = row(1, -2, 3)
    found.run(x)
    torch_subject.extend_snippet("quantizer.finalize(inplace=True)\nquantizer.finalize()\n")
    with torch_subject.recording():
        once = found.quantizer.finalize(inplace=True)(torch.from_numpy(x))
        again = found.quantizer.finalize()(torch.from_numpy(x))
    torch_subject.expect_equal(torch.equal(once, again), True, "whether it computes the same")


@pytest.mark.clause("L.20")
def test_finalize_names_the_quantizers_that_saw_nothing(torch_subject: Subject) -> None:
    found = prepare(torch_subject, TWO, with_options(milestones=[0, -1, -1, 0]), (1, 3))
    found.step()
    with listening() as messages:
        found.finalize()
    missing = [
        name
        for name, _ in fake_quantizers(found.model)
        if name.startswith("activation_post_process") and name not in "\n".join(messages)
    ]
    torch_subject.expect(
        missing == [], "the warnings do not name each", "each quantizer named", messages
    )


@pytest.mark.clause("L.20")
def test_finalize_gives_no_warning_when_all_have_seen_data(torch_subject: Subject) -> None:
    found = prepare(torch_subject, TWO, {}, (1, 3))
    found.run(row(1, -2, 3))
    with listening() as messages:
        found.finalize()
    named = [message for message in messages if "activation_post_process" in message]
    torch_subject.expect_equal(named, [], "the warnings that name quantizers")


PRESERVED = f"{TWO}\nmodel.key, model.table, model.lost = 5, torch.arange(3), 7"


@pytest.mark.clause("L.21")
def test_preserved_attributes_survive(torch_subject: Subject) -> None:
    config = {"preserved_attributes": ["key", "table"]}
    found = prepare(torch_subject, PRESERVED, config, (1, 3))
    found.run(row(1, -2, 3))
    for what, model in (("prepared", found.model), ("finalized", found.finalize())):
        torch_subject.expect_equal(getattr(model, "key", None), 5, f"key of the {what} model")
        table = getattr(model, "table", None)
        torch_subject.expect_equal(
            table is not None and table.tolist(), [0, 1, 2], f"table of the {what} model"
        )
        torch_subject.expect_equal(hasattr(model, "lost"), False, f"whether it is {what} too")


@pytest.mark.clause("L.22")
@pytest.mark.parametrize("algorithm", ["vanilla", "learnable"])
def test_a_saved_state_continues_in_another_model(torch_subject: Subject, algorithm: str) -> None:
    config = with_options(algorithm=algorithm)
    one = prepare(torch_subject, TWO, config, (1, 3))
    one.run(row(4, -2, 3))
    other = prepare(torch_subject, TWO, config, (1, 3))
    torch_subject.extend_snippet("# loads the state of such a model that has seen data\n")
    with torch_subject.recording():
        other.model.load_state_dict(one.model.state_dict())
    x = row(1, 9, -3)
    same = torch.equal(one.run(x), other.run(x))
    torch_subject.expect_equal(same, True, "whether both compute the same")
    states = one.model.state_dict(), other.model.state_dict()
    equal = all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    torch_subject.expect_equal(equal, True, "whether their states are the same afterwards")


def _deep_copied(model: Any) -> Any:
    return copy.deepcopy(model)


def _pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.clause("L.22")
@pytest.mark.parametrize("way", [_deep_copied, _pickled], ids=["deepcopy", "pickle"])
def test_copies_of_a_prepared_model(torch_subject: Subject, way: Any) -> None:
    found = prepare(torch_subject, TWO, {}, (1, 3))
    found.run(row(4, -2, 3))
    torch_subject.extend_snippet("import copy, pickle\n")
    torch_subject.extend_snippet("copy.deepcopy(prepared), pickle.dumps(prepared)\n")
    with torch_subject.recording():
        other = way(found.model)
    x = row(1, 9, -3)
    same = torch.equal(other(torch.from_numpy(x)), found.run(x))
    torch_subject.expect_equal(same, True, "whether the copy computes the same")
