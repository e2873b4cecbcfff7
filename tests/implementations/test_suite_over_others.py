"""The suite over implementations that are not ours: one in C, and a newcomer's first attempt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_programs import compiled, suite_results

from coreml_assay.records import Outcome

CLAUSES = [f"--clause=Q.{number}" for number in range(1, 20)]
TWO_GRIDS = ["-k", "[int8-symmetric or uint4-linear"]
BOTH = ["-k", "not (int4 or linear)"]  # a grid that a newcomer offers, and one that it does not


def failures(results):
    return {each.check.partition("::")[2] for each in results if each.outcome is Outcome.FAIL}


def clauses_with(outcome, results):
    return {clause for each in results if each.outcome is outcome for clause in each.clauses}


def check_the_example_in_c(tmp_path, *options):
    results = suite_results(tmp_path, f"command:{compiled(tmp_path)}", *options)
    assert failures(results) == set()
    # Which others pass depends on how many float16 weights are drawn, which it does not offer.
    assert {"Q.1", "Q.2", "Q.6", "Q.16", "Q.17", "Q.18", "Q.19"} <= clauses_with(
        Outcome.PASS, results
    )
    reasons = {each.detail for each in results if each.outcome is Outcome.UNSUPPORTED}
    assert reasons <= {"only float32"}


def test_the_example_in_c_passes(tmp_path):
    check_the_example_in_c(tmp_path, *CLAUSES, *TWO_GRIDS)


def test_the_example_in_c_that_rounds_halves_up_fails_at_the_clause_for_halves(tmp_path):
    program = compiled(tmp_path, "half_up", "-DROUND(x)=floor((x)+0.5)")
    results = suite_results(tmp_path, f"command:{program}", *CLAUSES, *TWO_GRIDS)
    assert failures(results) == {
        "test_halves_go_to_even[int8-symmetric]",
        "test_halves_go_to_even[uint4-linear]",
    }
    assert clauses_with(Outcome.FAIL, results) == {"Q.2"}


@pytest.mark.slow
def test_the_example_in_c_passes_on_all_grids(tmp_path):
    check_the_example_in_c(tmp_path, *CLAUSES)


FULL_RANGE = {
    "test_codes_lie_on_the_grid": "Q.1",
    "test_both_ends_of_the_grid_are_reached": "Q.1",
    "test_each_code_is_the_nearest": "Q.2",  # the largest weight is clipped
    "test_the_scale_spreads_the_grid_over_the_block": "Q.3",
    "test_every_weight_lies_within_half_a_step": "Q.7",
    "test_negating_a_weight_negates_its_codes": "Q.11",
    "test_quantizing_twice_gives_the_same_codes": "Q.12",
    "test_any_float16_magnitude_is_representable": "Q.16",
    "test_any_float32_magnitude_is_representable": "Q.16",
    "test_codes": "Q.19",
    "test_scales": "Q.19",
}
HALF_UP = {"test_halves_go_to_even": "Q.2"}
TRUNCATED_BLOCK = {"test_blocks_that_do_not_fit_are_refused": "Q.18"}
NOT_REFUSED = {"test_weights_that_are_not_finite_are_refused": "Q.17"}
"""A newcomer's faults: the checks that show each, and the clause in the check's name."""


def test_a_newcomers_faults_are_found_and_the_rest_is_unsupported(tmp_path):
    source = Path(__file__).with_name("newcomer.py")
    assert len(source.read_text().splitlines()) < 30
    shutil.copy(source, tmp_path)
    others = ["--clause=G.5", "--clause=G.7", "--clause=W.1", "--clause=T.1"]
    results = suite_results(tmp_path, "newcomer:Newcomer", *CLAUSES, *others, *BOTH)
    expected = {**FULL_RANGE, **HALF_UP, **TRUNCATED_BLOCK, **NOT_REFUSED}
    failed = {name.partition("[")[0] for name in failures(results)}
    assert failed == set(expected)
    assert clauses_with(Outcome.FAIL, results) == {
        *expected.values(),
        "Q.4",
    }  # Q.3's check is Q.4's
    assert all("the check itself fails" not in each.detail for each in results)
    unsupported = {each.detail for each in results if each.outcome is Outcome.UNSUPPORTED}
    assert unsupported == {
        "only signed symmetric codes",
        "newcomer has no gptq(weight, inputs, spec)",
        "newcomer has no coreml face",
        "newcomer has no torch face, or torch is not installed",
    }
    passed = clauses_with(Outcome.PASS, results)
    assert {"Q.5", "Q.6", "Q.8", "Q.9", "Q.10", "Q.13", "Q.14", "Q.15"} <= passed
