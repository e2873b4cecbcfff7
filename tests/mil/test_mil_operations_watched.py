"""The table of operations is true: each check that it lists was seen to evaluate its operation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
from operations_watch import RESULT

from coreml_assay.mil.ops import CONSTANT_OPERATIONS, OPERATIONS

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
# Random operations draw anew each time; of the others coremltools has to know the lengths, or
# their checks write the program without the builder.
NEVER_OPEN = {
    "classify",
    "coreml_update_state",
    *(f"list_{verb}" for verb in ("gather", "length", "read", "scatter", "write")),
    "make_list",
    *(f"random_{kind}" for kind in ("bernoulli", "categorical", "normal", "uniform")),
    "read_state",
    "reshape_like",
    "scatter_along_axis",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    result = tmp_path_factory.mktemp("watch") / "operations.json"
    files = sorted(str(path) for path in HERE.glob("test_mil_*.py"))
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-m", "not slow"),
            *("-p", "operations_watch", "-p", "no:cacheprovider", *files),
        ],
        env={**os.environ, "PYTHONPATH": str(HERE), RESULT: str(result)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    return json.loads(result.read_text())


def test_every_declared_check_evaluates_its_operation(watched):
    evaluated = {(op_type, against) for op_type, against, _ in watched["evaluated"]}
    assert {tuple(each) for each in watched["declared"]} - evaluated == set()


def test_every_definition_of_an_operation_is_evaluated_by_a_check(watched):
    evaluated = {(op_type, opset) for op_type, _, opset in watched["evaluated"]}
    defined = {
        (op_type, cls.__module__.split(".")[-2])
        for op_type in {*OPERATIONS, *CONSTANT_OPERATIONS} & set(SSAOpRegistry.core_ops)
        for cls in SSAOpRegistry.core_ops[op_type].values()
    }
    assert defined - evaluated == set()


def test_open_lengths_change_no_bit(watched):
    assert watched["unequal"] == []
    assert set(OPERATIONS) - set(watched["opened"]) == NEVER_OPEN
