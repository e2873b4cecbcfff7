"""The seed alone decides what a check is tried on, and so what the suite finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coreml_assay import conformance
from coreml_assay.conformance.runner import suite_settings

SUITE = Path(conformance.__file__).parent
CHECKS = [
    "properties/test_codes.py::test_codes_lie_on_the_grid[int8-symmetric]",
    "properties/test_symmetries.py::test_negating_a_weight_negates_its_codes[int8-symmetric]",
]
# Imports much that the others do without, and quantizes no array.
ELSEWHERE = "properties/test_models.py::test_no_threshold_means_every_weight"
IMPLEMENTATION = '''\
import hashlib
import os
import numpy as np
from coreml_assay.implementations.reference import Reference


class Recording(Reference):
    """The reference with codes cut off, keeping a digest of each weight it is given."""

    name, version = "recording", "1"

    def quantize_weight(self, weight, spec):
        with open(os.environ["RECORDED"], "a") as file:
            file.write(hashlib.sha256(weight.tobytes()).hexdigest() + "\\n")
        found = super().quantize_weight(weight, spec)
        return found._replace(codes=np.maximum(found.codes, -2))
'''


@pytest.fixture
def run_checks(tmp_path):
    """Runs checks on the implementation above, in a process of its own."""

    def run(
        name: str, *checks: str, seed: int = 7, more: str = "", **variables: str
    ) -> tuple[bytes, bytes]:
        (tmp_path / "mine.py").write_text(IMPLEMENTATION + more)
        results, recorded = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.txt"
        settings = suite_settings("mine:Recording", seed, "quick", results)
        subprocess.run(
            [sys.executable, "-m", "pytest", *(f"{SUITE}/{check}" for check in checks), *settings],
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path),
                "RECORDED": str(recorded),
                **variables,
            },
            capture_output=True,
            check=False,
        )
        return results.read_bytes(), recorded.read_bytes()

    return run


def test_the_same_seed_finds_the_same_byte_for_byte(run_checks):
    # In CI, hypothesis has other defaults.
    first = run_checks("first", *CHECKS, PYTHONHASHSEED="1", CI="")
    second = run_checks("second", *CHECKS, PYTHONHASHSEED="2", CI="true")
    assert b'"fail"' in first[0]  # of the second check, with all that it says
    assert first == second


def test_a_check_is_tried_on_the_same_alone_and_in_company(run_checks):
    alone, inputs = run_checks("alone", CHECKS[0])
    together, same_inputs = run_checks("together", ELSEWHERE, CHECKS[0])
    assert inputs == same_inputs
    assert alone.strip() == together.splitlines()[-1]


def test_numbers_in_the_source_of_an_implementation_are_not_tried(run_checks):
    """Hypothesis takes them for worth trying, unless it is kept from looking."""
    numbers = f"NUMBERS = {[k / 1024 for k in range(1001, 1101)]}\n"
    _, without = run_checks("without", *CHECKS)
    _, with_them = run_checks("with", *CHECKS, more=numbers)
    assert without == with_them


def test_another_seed_is_another_choice_in_ci_too(run_checks):
    _, first = run_checks("first", CHECKS[0], CI="true")
    _, second = run_checks("second", CHECKS[0], seed=8, CI="true")
    assert first != second
