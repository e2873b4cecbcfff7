"""Programs under test that go wrong: each is contained, named, and costs its own call only."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from command_programs import python_lines, script, suite_results, wrapped
from test_command import ROWS, WEIGHT, load, message_of

from coreml_assay.implementations import ImplementationError, WeightSpec
from coreml_assay.implementations.contained import Limits, run_contained
from coreml_assay.numerics import Grid
from coreml_assay.records import Outcome

SAFETENSORS = """\
{sys.executable} -c "
import sys, numpy as np
from safetensors.numpy import save_file
save_file({arrays}, sys.argv[1])" "$case/result.safetensors"
printf '{{"protocol":1,"status":"ok"}}' > "$case/result.json"
"""


def answers_with(arrays):
    return SAFETENSORS.format(sys=sys, arrays=arrays)


FAULTS = {
    "signal": ("kill -SEGV $$", "killed by signal 11 (SIGSEGV)"),
    "killed": ("kill -KILL $$", "killed by signal 9 (SIGKILL)"),
    "exit code": ("echo no luck >&2; exit 3", "exit code 3; it said: no luck"),
    "after its answer": ("answer; exit 4", "exit code 4"),
    "no result": ("true", "there is no result.json"),
    "no arrays": (
        """printf '{"protocol":1,"status":"ok"}' > "$case/result.json" """,
        "there is no result.safetensors",
    ),
    "half a file": (
        'answer; head -c 70 "$case/result.safetensors" > "$case/x"; '
        'mv "$case/x" "$case/result.safetensors"',
        "result.safetensors is not valid: ",
    ),
    "rubbish for arrays": (
        'answer; echo "rubbish, and more of it" > "$case/result.safetensors"',
        "result.safetensors is not valid: ",
    ),
    "half of the JSON": (
        """answer; printf '{"protocol":1,"stat' > "$case/result.json" """,
        "result.json is not valid: ",
    ),
    "not UTF-8": (
        """answer; printf '{"protocol":1,"status":"\\377"}' > "$case/result.json" """,
        "result.json is not valid: ",
    ),
    "nesting": (
        'answer; head -c 500000 /dev/zero | tr "\\0" "[" > "$case/result.json"',
        "result.json is not valid: ",
    ),
    "long JSON": (
        'answer; head -c 2000000 /dev/zero > "$case/result.json"',
        "result.json has 2000000 bytes, more than 1048576",
    ),
    "a pipe": (
        'answer; rm "$case/result.safetensors"; mkfifo "$case/result.safetensors"',
        "result.safetensors is not a plain file",
    ),
    "a link to no end": (
        'answer; ln -sf /dev/zero "$case/result.safetensors"',
        "result.safetensors is not a plain file",
    ),
    "another protocol": (
        """answer; printf '{"protocol":7,"status":"ok"}' > "$case/result.json" """,
        "result.json: protocol 7; this coreml-assay speaks protocol 1",
    ),
    "huge output": (
        "head -c 200000000 /dev/zero",
        "killed by signal 25 (SIGXFSZ): it wrote a file of more than 68 MiB",
    ),
    "codes of another shape": (
        answers_with("dict(codes=np.zeros((1, 3), 'int8'), scale=np.ones((1, 1), 'float32'))"),
        "result.safetensors: codes has the shape [1, 3], not [1, 4]",
    ),
    "a scale of another rank": (
        answers_with("dict(codes=np.zeros((1, 4), 'int8'), scale=np.ones(1, 'float32'))"),
        "result.safetensors: scale has the shape [1], not [1, 1]",
    ),
    "codes that are not integers": (
        answers_with("dict(codes=np.zeros((1, 4), 'float32'), scale=np.ones((1, 1), 'float32'))"),
        "result.safetensors: codes is float32, not integers",
    ),
    "a scale of integers": (
        answers_with("dict(codes=np.zeros((1, 4), 'int8'), scale=np.ones((1, 1), 'int32'))"),
        "result.safetensors: scale is int32, not floating point",
    ),
    "another name": (
        answers_with("dict(codes=np.zeros((1, 4), 'int8'), scales=np.ones((1, 1), 'float32'))"),
        "result.safetensors has codes, scales; it must have codes and scale, may have zero_point, "
        "and nothing else",
    ),
    "a process left behind": (
        "answer; sleep 60 & exit 0",
        "it left processes running, which were killed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(tmp_path, plain_c, fault):
    then, said = FAULTS[fault]
    implementation = load(wrapped(tmp_path, plain_c, then))
    message = message_of(lambda: implementation.quantize_weight(WEIGHT, ROWS))
    assert message.startswith(said)


def test_memory_beyond_the_limit_is_named_where_the_program_says_so(tmp_path, plain_c, monkeypatch):
    monkeypatch.setenv("COREML_ASSAY_COMMAND_MEMORY", "512")
    then = python_lines("x = bytearray(2**30)")
    implementation = load(wrapped(tmp_path, plain_c, then))
    message = message_of(lambda: implementation.quantize_weight(WEIGHT, ROWS))
    assert message.startswith("exit code 1: out of memory, of which it may have 512 MiB; it said: ")
    assert message.endswith("MemoryError")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_memory_beyond_the_limit_is_named_where_the_program_says_nothing(tmp_path):
    # A process inherits the peak of the one that starts it, and only what goes beyond is its own.
    inherited_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    limits = Limits(seconds=60, memory_mib=2 * inherited_mib + 500, file_mib=64)
    silent = script(tmp_path, "silent", SILENT, sys.executable)
    ending = run_contained([str(silent)], limits, tmp_path / "output")
    assert (
        ending.fault == f"exit code 1: out of memory, of which it may have {limits.memory_mib} MiB"
    )


SILENT = """
import os
taken = []
try:
    while True:
        taken.append(bytes([1]) * 10**7)
except MemoryError:
    os._exit(1)"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_the_example_in_c_says_when_its_memory_is_over(plain_c, monkeypatch):
    monkeypatch.setenv("COREML_ASSAY_COMMAND_MEMORY", "32")
    implementation = load(plain_c)
    weight = np.ones((2048, 4096), np.float32)
    message = message_of(lambda: implementation.quantize_weight(weight, ROWS))
    assert message.startswith("exit code 1: out of memory, of which it may have 32 MiB")


def test_a_program_that_hangs_is_not_started_again_and_again(tmp_path, plain_c, monkeypatch):
    monkeypatch.setenv("COREML_ASSAY_COMMAND_SECONDS", "1")
    program = wrapped(tmp_path, plain_c, f"echo $$ >> {tmp_path}/started; sleep 60 & wait")
    implementation = load(program)
    messages = [message_of(lambda: implementation.quantize_weight(WEIGHT, ROWS)) for _ in range(5)]
    assert set(messages[:3]) == {"no result after 1 s, so it was killed"}
    assert set(messages[3:]) == {
        "not started again, for 3 calls before had no result after 1 s "
        "(COREML_ASSAY_COMMAND_SECONDS)"
    }
    groups = [int(line) for line in (tmp_path / "started").read_text().split()]
    assert len(groups) == 3
    for group in groups:
        ended(group)


def test_what_a_program_leaves_behind_is_ended(tmp_path, plain_c):
    program = wrapped(tmp_path, plain_c, f"echo $$ > {tmp_path}/group; answer; sleep 60 & exit 0")
    message_of(lambda: load(program).quantize_weight(WEIGHT, ROWS))
    ended(int((tmp_path / "group").read_text()))


def ended(group):
    """Fail unless no process of a group runs; those that have ended may wait to be reaped."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True, check=False
        ).stdout.split()
        if all(state.startswith("Z") for state in listed):
            return
        time.sleep(0.05)
    raise AssertionError(f"processes of group {group} run: {listed}")


def test_the_other_calls_of_a_program_that_crashes_go_on(tmp_path, plain_c):
    then = f"test -e {tmp_path}/once && {{ answer; exit; }}; touch {tmp_path}/once; kill -ABRT $$"
    implementation = load(wrapped(tmp_path, plain_c, then))
    assert "SIGABRT" in message_of(lambda: implementation.quantize_weight(WEIGHT, ROWS))
    assert implementation.quantize_weight(WEIGHT, ROWS).codes.shape == WEIGHT.shape


def test_each_failure_of_a_program_is_the_failure_of_its_check(tmp_path, plain_c):
    # Four bits crash it, and nothing else does.
    then = 'grep -q \'"bits": 4\' "$case/case.json" && kill -SEGV $$; answer'
    program = f"command:{wrapped(tmp_path, plain_c, then)}"
    results = suite_results(tmp_path, program, "-k", "halves", part="properties.test_codes")
    assert len(results) == 8
    for result in results:
        if "int4" in result.check:
            assert result.outcome is Outcome.FAIL
            assert "violates Q.2: the call fails" in result.detail
            assert "found:    CommandError: killed by signal 11 (SIGSEGV)" in result.detail
        else:
            assert result.outcome is Outcome.PASS


def test_a_crash_is_no_refusal(tmp_path, plain_c):
    program = f"command:{wrapped(tmp_path, plain_c, 'kill -SEGV $$')}"
    options = ("-k", "fit and uint4-linear")
    (result,) = suite_results(tmp_path, program, *options, part="properties.test_blocks")
    assert result.outcome is Outcome.FAIL
    assert "CommandError: killed by signal 11 (SIGSEGV)" in result.detail


def test_a_description_that_hangs_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("COREML_ASSAY_COMMAND_SECONDS", "0.5")
    with pytest.raises(ImplementationError, match=r"no result after 0\.5 s, so it was killed"):
        load(script(tmp_path, "hangs", "sleep 60"))


def test_blocks_that_do_not_fit_are_for_the_suite_to_find(tmp_path, plain_c):
    arrays = "dict(codes=np.zeros((1, 4), 'int8'), scale=np.ones((1, 2), 'float32'))"
    implementation = load(wrapped(tmp_path, plain_c, answers_with(arrays)))
    found = implementation.quantize_weight(WEIGHT, WeightSpec(Grid(8, True, True), (1, 3)))
    assert found.scale.shape == (1, 2)
