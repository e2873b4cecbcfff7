"""Sessions that were edited: each is refused, and the reason names what is wrong with it."""

from __future__ import annotations

import copy
import json
import re
import shutil

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreml_assay.latency.checks import refuse
from coreml_assay.latency.plan import read_plan, read_samples, write_samples
from coreml_assay.latency.session import SessionError, decode_session, read_session, sealed
from coreml_assay.latency_records import Session

HASH = st.binary(min_size=32, max_size=32).map(bytes.hex)
NO_HASH = st.text(max_size=70).filter(lambda text: not re.fullmatch("[0-9a-f]{64}", text))
NO_TIME = st.integers(max_value=0)
WORD = st.text("abcxyz0123456789", min_size=1, max_size=12)
BLANK = st.sampled_from(["", " ", "\n"])
UNTOLD = st.sampled_from(["", " ", "unknown", "none"])
LONG = st.integers(10**15, 2**62)

# For each field: values that it cannot have, whatever the seal says, and words of the reason.
IMPOSSIBLE = {
    "schema_version": (st.integers(2, 9) | st.integers(-9, 0), "session schema"),
    "tool_version": (WORD, "tool_version is"),
    "created": (
        st.sampled_from(["yesterday", "", "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00"])
        | st.just("2999-01-01T00:00:00+02:00"),
        "created is",
    ),
    "plan_sha256": (HASH | NO_HASH, "plan_sha256"),
    "backend": (WORD | st.just("evaluator"), "backend"),
    "coremltools": (WORD | st.just("9.1"), "coremltools is"),
    "python": (WORD | BLANK | st.just("2.7.18"), "python is"),
    "device.kind": (WORD | st.sampled_from(["none", "iphone"]), "kind"),
    "device.name": (UNTOLD, "device.name"),
    "device.os_version": (UNTOLD, "device.os_version"),
    "device.os_build": (UNTOLD, "device.os_build"),
    "device.xcode": (BLANK, "device.xcode"),
    "device.processors[]": (WORD, "device.processors"),
    "device.thermal_before": (WORD | st.just("heavy"), "thermal_before"),
    "device.thermal_after": (WORD | st.just("sleeping"), "thermal_after"),
    "sentinels[].compute_units": (WORD | st.just("evaluator"), "sentinels"),
    "sentinels[].package_sha256": (HASH | NO_HASH, "package_sha256"),
    "sentinels[].before_ns[]": (NO_TIME, "before_ns"),
    "sentinels[].after_ns[]": (NO_TIME, "after_ns"),
    "runs[].model": (WORD, "is not in the plan"),
    "runs[].configuration": (WORD, "is not in the plan"),
    "runs[].package_sha256": (HASH | NO_HASH, "package_sha256"),
    "runs[].inputs_sha256": (HASH | NO_HASH, "inputs_sha256"),
    "runs[].outputs_sha256": (HASH | NO_HASH, "outputs_sha256"),
    "runs[].compute_units": (WORD | st.just("evaluator"), "run"),
    "runs[].load_ns": (NO_TIME | LONG, "load_ns"),
    "runs[].warm_up_ns[]": (NO_TIME, "warm_up_ns"),
    "runs[].rounds[].start_ns": (st.integers(max_value=10**6), "start_ns"),
    "runs[].rounds[].elapsed_ns": (st.integers(max_value=10**6), "elapsed_ns"),
    "runs[].rounds[].samples_ns[]": (NO_TIME | LONG, "samples_ns"),
    "runs[].placement.compute_units": (WORD | st.just("CPU_AND_GPU"), "placement.compute_units"),
    "runs[].placement.operations[].operator": (BLANK, "operator is empty"),
    "runs[].placement.operations[].preferred": (WORD, "preferred"),
    "runs[].placement.operations[].cost": (
        st.floats(max_value=-1e-9, allow_infinity=False) | st.floats(1.01, 1e9),
        "cost",
    ),
    "seal": (st.text(max_size=70), "seal"),
}


def leaves(tree, path=()):
    """The path to every value that is not a container, None included."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for at, value in enumerate(tree):
            yield from leaves(value, (*path, at))
    else:
        yield path


def field(path):
    """A path without its indices: ``runs[].model``."""
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def edited(tree, path, value):
    changed = copy.deepcopy(tree)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def value_at(tree, path):
    for step in path:
        tree = tree[step]
    return tree


def reseal(tree):
    """With a seal that fits, where it still is a session at all."""
    try:
        return json.loads(msgspec.json.encode(sealed(msgspec.convert(tree, Session))))
    except msgspec.ValidationError:
        return tree


@pytest.fixture(scope="module")
def tree(on_a_mac):
    return json.loads((on_a_mac / "session.json").read_bytes())


@pytest.fixture(scope="module")
def check(prepared, on_a_mac):
    plan = read_plan(prepared)

    def checked(tree):
        session = decode_session(json.dumps(tree).encode(), "session.json")
        refuse(session, *plan, prepared, on_a_mac)

    return checked


def refused(check, tree):
    with pytest.raises(SessionError) as caught:
        check(tree)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_session_itself_passes(check, tree):
    check(tree)
    assert reseal(tree) == tree


def test_every_field_is_in_the_table(tree):
    assert {field(path) for path in leaves(tree)} == IMPOSSIBLE.keys()


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]), HASH
)


@settings(max_examples=200)
@given(data=st.data())
def test_an_edit_of_any_field_is_refused(check, tree, data):
    paths = {field(path): path for path in leaves(tree)}
    path = paths[data.draw(st.sampled_from(sorted(paths)), "field")]
    old = value_at(tree, path)
    new = data.draw(ANYTHING.filter(lambda value: value != old), "value")
    assert refused(check, edited(tree, path, new))


@settings(max_examples=200)
@given(data=st.data())
def test_an_impossible_value_is_refused_whatever_the_seal(check, tree, data):
    name = data.draw(st.sampled_from(sorted(IMPOSSIBLE)), "field")
    path = data.draw(st.sampled_from([each for each in leaves(tree) if field(each) == name]))
    values, words = IMPOSSIBLE[name]
    new = data.draw(values.filter(lambda value: value != value_at(tree, path)), "value")
    changed = edited(tree, path, new)
    assert words in refused(check, changed if name == "seal" else reseal(changed))


def test_a_field_that_is_missing_is_refused(check, tree):
    # A cost of null is a cost that is missing already.
    paths = {field(path): path for path in leaves(tree) if value_at(tree, path) is not None}
    assert paths.keys() == IMPOSSIBLE.keys()
    for path in paths.values():
        changed = copy.deepcopy(tree)
        del value_at(changed, path[:-1])[path[-1]]
        assert refused(check, changed)


def scaled(values, factor):
    return [round(factor * value) for value in values]


def test_what_only_the_whole_gives_away(check, tree):
    """Edits that leave each value possible, each with a seal that fits."""
    first, sentinel = tree["runs"][0], tree["sentinels"][0]
    samples = first["rounds"][0]["samples_ns"]
    swapped = copy.deepcopy(tree)
    swapped["runs"].reverse()
    hybrid = copy.deepcopy(tree)
    hybrid["runs"][0]["placement"] = hybrid["runs"][2]["placement"]
    cases = [
        (("runs",), tree["runs"][1:], "is missing"),
        (("runs",), [*tree["runs"], first], "each once"),
        (("runs",), swapped["runs"], "each once"),
        (("runs",), hybrid["runs"], "plan of other compute units"),
        (("runs", 0, "rounds"), first["rounds"][:2], "rounds are 2"),
        (("runs", 0, "rounds"), [first["rounds"][0]] * 10, "no pause"),
        (("runs", 0, "rounds", 0, "samples_ns"), samples[1:], "23 samples_ns"),
        (("runs", 0, "rounds", 0, "samples_ns"), [*samples, 1], "25 samples_ns"),
        (("runs", 0, "rounds", 0, "samples_ns"), scaled(samples, 2.5), "more than elapsed_ns"),
        (("runs", 0, "warm_up_ns"), first["warm_up_ns"][:19], "has not settled"),
        (("runs", 0, "warm_up_ns"), first["warm_up_ns"] + samples[:20], "after it had settled"),
        (("runs", 0, "placement"), None, "placement is missing"),
        (("runs", 0, "placement", "operations"), [], "no operations"),
        (("runs", 0, "placement", "operations", 0, "preferred"), "gpu", "gpu with CPU_ONLY"),
        (("runs", 1, "placement", "operations", 0, "preferred"), "gpu", "gpu with CPU_AND_NE"),
        (("runs", 2, "placement", "operations", 1, "cost"), 0.9, "more than the whole"),
        (("sentinels",), tree["sentinels"][1:], "sentinels are not"),
        (("sentinels", 0, "after_ns"), scaled(sentinel["after_ns"], 1.08), "drifted by"),
        (("sentinels", 0, "after_ns"), scaled(sentinel["after_ns"], 0.92), "drifted by"),
        (("sentinels", 0, "after_ns"), sentinel["after_ns"][1:], "200 samples"),
        (("device", "processors"), ["cpu", "cpu"], "twice"),
        (("device", "processors"), ["gpu"], "lacks the CPU"),
        (("device", "processors"), ["cpu"], "which is not there"),
        (("device", "kind"), "ipad", "cannot be known"),
    ]
    for path, value, words in cases:
        assert words in refused(check, reseal(edited(tree, path, value)))
    equal = copy.deepcopy(tree)
    for each in equal["runs"][0]["rounds"]:
        each["samples_ns"] = [900_000] * 24
    assert "all equal" in refused(check, reseal(equal))


def test_outputs_that_are_missing_or_others(prepared, on_a_mac, tmp_path):
    folder = tmp_path / "collected"
    shutil.copytree(on_a_mac, folder)
    session, plan = read_session(folder), read_plan(prepared)
    refuse(session, *plan, prepared, folder)
    (folder / "outputs" / "1-ALL.safetensors").write_bytes(b"")
    with pytest.raises(SessionError, match=r"1-ALL\.safetensors: missing, or not what"):
        refuse(session, *plan, prepared, folder)
    (folder / "outputs" / "0-CPU_ONLY.safetensors").unlink()
    with pytest.raises(SessionError, match=r"0-CPU_ONLY\.safetensors: missing"):
        refuse(session, *plan, prepared, folder)


def test_the_evaluators_session_under_a_devices_name(prepared, evaluated, on_a_mac):
    """The device taken from another session, everything else as it was, and a seal that fits."""
    borrowed = msgspec.structs.replace(
        read_session(evaluated), device=read_session(on_a_mac).device
    )
    with pytest.raises(SessionError, match=r"evaluator and device\.kind 'mac' do not go"):
        refuse(sealed(borrowed), *read_plan(prepared), prepared, evaluated)


@pytest.mark.parametrize(
    "facts", [{"processors": ("cpu",)}, {"thermal_before": "nominal"}, {"thermal_after": "nominal"}]
)
def test_what_cannot_be_known_without_a_mac(prepared, evaluated, facts):
    session = read_session(evaluated)
    device = msgspec.structs.replace(session.device, **facts)
    (name,) = facts
    with pytest.raises(SessionError, match=f"{name} of kind 'none' cannot be known"):
        refuse(
            sealed(msgspec.structs.replace(session, device=device)),
            *read_plan(prepared),
            prepared,
            evaluated,
        )


@pytest.mark.parametrize(
    ("too_little", "words"),
    [
        ({"samples_per_round": 19}, "samples_ns are 190; 200 are needed"),
        ({"pause_ns": 0}, "the plan has no pause between rounds"),
    ],
)
def test_a_plan_that_asks_for_too_little(prepared, on_a_mac, too_little, words):
    """The session does all that its plan asks for, and is refused nevertheless."""
    plan, plan_sha256 = read_plan(prepared)
    plan = msgspec.structs.replace(plan, **too_little)
    session = read_session(on_a_mac)
    replace = msgspec.structs.replace
    runs = tuple(
        replace(
            run,
            rounds=tuple(
                replace(each, samples_ns=each.samples_ns[: plan.samples_per_round])
                for each in run.rounds
            ),
        )
        for run in session.runs
    )
    session = sealed(replace(session, runs=runs))
    with pytest.raises(SessionError, match=words):
        refuse(session, plan, plan_sha256, prepared, on_a_mac)


@pytest.mark.parametrize("change", ["a sample less", "another name", "another shape"])
def test_outputs_of_another_form_under_a_checksum_that_fits(prepared, on_a_mac, tmp_path, change):
    folder = tmp_path / "collected"
    shutil.copytree(on_a_mac, folder)
    path = folder / "outputs" / "0-CPU_ONLY.safetensors"
    samples = read_samples(path)
    if change == "a sample less":
        samples.pop()
    else:
        ((name, value),) = samples[0].items()
        samples[0] = {"other": value} if change == "another name" else {name: value[..., :-1]}
    session = read_session(folder)
    first = msgspec.structs.replace(session.runs[0], outputs_sha256=write_samples(samples, path))
    session = sealed(msgspec.structs.replace(session, runs=(first, *session.runs[1:])))
    with pytest.raises(SessionError, match="of arrays of other names or shapes"):
        refuse(session, *read_plan(prepared), prepared, folder)
