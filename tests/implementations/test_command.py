"""Programs in any language under test: what they are asked, and what becomes of their answers."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from command_programs import script, wrapped
from safetensors.numpy import load_file

from coreml_assay.conformance.memory import extra_memory_ratio
from coreml_assay.implementations import (
    CalibratedWeightSpec,
    Face,
    ImplementationError,
    Unsupported,
    WeightSpec,
    faces,
    load_implementation,
)
from coreml_assay.implementations.case_folders import Case, CommandError
from coreml_assay.numerics import Grid, QuantizedWeight, round_to_nearest

INT8 = Grid(8, signed=True, symmetric=True)
GRIDS = [
    Grid(bits, signed, symmetric)
    for bits in (4, 8)
    for signed in (True, False)
    for symmetric in (True, False)
]
WEIGHT = np.array([[1, -2, 3, 4]], np.float32)
ROWS = WeightSpec(INT8, (1, 0))


def load(program):
    return load_implementation(f"command:{program}")


def message_of(action):
    with pytest.raises(CommandError) as raised:
        action()
    message = str(raised.value)
    assert "\n" not in message
    return message


def refused(name):
    with pytest.raises(ImplementationError) as raised:
        load_implementation(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
@pytest.mark.parametrize("block_shape", [(0, 0, 0), (1, 0, 0), (2, 5, 1)])
def test_a_program_is_an_implementation(plain_c, grid, block_shape):
    weight = np.random.default_rng(1).normal(size=(4, 10, 3)).astype(np.float32)
    weight[:2, :5] = 0
    found = load(plain_c).quantize_weight(weight, WeightSpec(grid, block_shape))
    expected = round_to_nearest(weight, grid, block_shape)
    for name, one, other in zip(QuantizedWeight._fields, found, expected, strict=True):
        assert np.array_equal(one, other), name
        assert one is None or one.dtype == other.dtype, name


def test_what_a_program_says_about_itself(plain_c):
    implementation = load(plain_c)
    assert (implementation.name, implementation.version) == ("plain-c", "1.0")
    assert faces(implementation) == {Face.TENSOR}


def test_the_memory_of_this_process_is_not_taken_for_the_programs(plain_c):
    assert extra_memory_ratio(load(plain_c)) == {}


def test_unsupported_and_refused_are_what_they_are_elsewhere(plain_c):
    implementation = load(plain_c)
    with pytest.raises(Unsupported, match="only float32"):
        implementation.quantize_weight(WEIGHT.astype(np.float16), ROWS)
    with pytest.raises(Unsupported, match="plain-c has no gptq"):
        implementation.gptq(WEIGHT, [WEIGHT], CalibratedWeightSpec(INT8, (1, 0)))
    with pytest.raises(ValueError, match="the blocks do not fit"):
        implementation.quantize_weight(WEIGHT, WeightSpec(INT8, (1, 3)))
    with pytest.raises(ValueError, match="the weight is not finite"):
        implementation.quantize_weight(WEIGHT * np.nan, ROWS)


def test_the_program_may_have_arguments_and_a_name_with_spaces(tmp_path):
    program = script(
        tmp_path,
        "my program",
        'test "$1 $2" = "-n two words" || exit 9\n'
        """printf '{"protocol":1,"name":"shell","version":"2","verbs":[]}' > "$3/result.json" """,
    )
    implementation = load_implementation(f"command:'{program}' -n 'two words'")
    assert implementation.version == "2"
    with pytest.raises(Unsupported, match="shell has no quantize_weight"):
        implementation.quantize_weight(WEIGHT, ROWS)


def test_what_a_case_folder_holds(tmp_path, plain_c, monkeypatch):
    monkeypatch.setenv("COREML_ASSAY_COMMAND_CASES", str(tmp_path / "cases"))
    implementation = load(plain_c)
    (described,) = (tmp_path / "cases").iterdir()
    assert json.loads((described / "case.json").read_text())["verb"] == "describe"
    weight = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    implementation.quantize_weight(weight, WeightSpec(Grid(4, False, True, all_codes=True), (1, 0)))
    (folder,) = set((tmp_path / "cases").iterdir()) - {described}
    case = json.loads((folder / "case.json").read_text())
    assert case == {
        "protocol": 1,
        "verb": "quantize_weight",
        "grid": {
            "bits": 4,
            "signed": False,
            "symmetric": True,
            "all_codes": True,
            "lowest": 0,
            "highest": 15,
            "middle": 8,
            "stores_zero_point": True,
            "dtype": "uint8",
        },
        "block_shape": [1, 0],
        "files": {
            "arrays": "case.safetensors",
            "result_arrays": "result.safetensors",
            "result": "result.json",
        },
    }
    msgspec.convert(case, Case)
    arrays = load_file(folder / "case.safetensors")
    assert list(arrays) == ["weight"]
    assert np.array_equal(arrays["weight"], weight)
    assert set(load_file(folder / "result.safetensors")) == {"codes", "scale", "zero_point"}


def test_what_a_case_of_gptq_holds(tmp_path, monkeypatch):
    program = script(
        tmp_path,
        "gptq",
        """printf '{"protocol":1,"name":"shell","version":"2","verbs":["gptq"]}' """
        '> "$1/result.json"; grep -q describe "$1/case.json" && exit\n'
        """printf '{"protocol":1,"status":"unsupported","message":"two\\\\nlines"}' """
        '> "$1/result.json"',
    )
    implementation = load(program)
    monkeypatch.setenv("COREML_ASSAY_COMMAND_CASES", str(tmp_path / "cases"))
    implementation = load(program)
    spec = CalibratedWeightSpec(INT8, (1, 4), True, 64, 0.25)
    with pytest.raises(Unsupported, match="two lines"):
        implementation.gptq(WEIGHT, [WEIGHT, 2 * WEIGHT], spec)
    cases = [json.loads(path.read_text()) for path in (tmp_path / "cases").glob("*/case.json")]
    (case,) = (case for case in cases if case["verb"] == "gptq")
    assert case["inputs"] == ["input.0", "input.1"]
    asked = (case["activation_order"], case["processing_group_size"], case["hessian_dampening"])
    assert asked == (True, 64, 0.25)
    (arrays,) = map(load_file, (tmp_path / "cases").glob("*/case.safetensors"))
    assert np.array_equal(arrays["input.1"], 2 * WEIGHT)


def test_what_a_program_prints_is_ignored(tmp_path, plain_c):
    program = wrapped(tmp_path, plain_c, "head -c 100000 /dev/urandom; answer; echo '{\"status\":'")
    found = load(program).quantize_weight(WEIGHT, ROWS)
    assert np.array_equal(found.codes, round_to_nearest(WEIGHT, INT8, (1, 0)).codes)


def test_programs_that_cannot_be_loaded(tmp_path, monkeypatch):
    assert refused("command:").endswith("there is no program; write command:PROGRAM")
    assert "cannot be split into words" in refused("command:'x")
    assert refused("command:./no-such --flag").endswith("the program ./no-such does not exist")
    plain = tmp_path / "plain"
    plain.write_text("text")
    assert refused(f"command:{plain}").endswith(f"the program {plain} is not executable")
    binary = script(tmp_path, "binary", "")
    binary.write_bytes(b"\x7fELF\x02rubbish\x00")
    assert "exit code" in refused(f"command:{binary}")
    monkeypatch.setenv("COREML_ASSAY_COMMAND_SECONDS", "0")
    assert refused("command:true").endswith("COREML_ASSAY_COMMAND_SECONDS must be above 0")
    monkeypatch.setenv("COREML_ASSAY_COMMAND_SECONDS", "soon")
    assert refused("command:true").endswith("must be a number from 0 on, got 'soon'")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ("", "there is no result.json"),
        ("[]", "result.json is not valid: Expected `object`, got `array`"),
        ("{", "result.json is not valid: Input data was truncated"),
        ('{"protocol":2}', "protocol 2; this coreml-assay speaks protocol 1"),
        ('{"name":"x"}', "missing required field `protocol`"),
        ('{"protocol":1,"name":"x","version":"1"}', "missing required field `verbs`"),
        ('{"protocol":1,"name":"","version":"1","verbs":[]}', "name must be 1 to 80 printable"),
        ('{"protocol":1,"name":"x","version":"1","verbs":["run"]}', "Invalid enum value 'run'"),
        ('{"protocol":1,"name":"x","version":"1","verb":[]}', "unknown field `verb`"),
    ],
)
def test_descriptions_that_are_not_valid(tmp_path, described, said):
    written = f"printf '%s' '{described}' > \"$1/result.json\"" if described else "true"
    program = script(tmp_path, "program", written)
    assert said in refused(f"command:{program}")
