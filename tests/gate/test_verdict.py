"""Each rule of the gate, by a record that breaks that rule alone."""

from __future__ import annotations

from typing import Any

import pytest
from factories import agreement, check, model, only, record, suite
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.gate import Kind, Status, Verdict, judge
from coreml_assay.gate.tolerances import WORST_ERROR
from coreml_assay.records import Outcome, SuiteRun


def test_a_clean_record_passes() -> None:
    verdict = judge(record(), None)
    assert verdict == Verdict(status=Status.PASS)
    assert verdict.headline == "Pass: nothing speaks against this record"


def test_exit_codes_leave_two_to_bad_input() -> None:
    assert {status: status.exit_code for status in Status} == {
        Status.PASS: 0,
        Status.REGRESSION: 1,
        Status.NOTHING_MEASURED: 3,
    }


class TestChecks:
    def test_a_failed_check_is_a_regression_with_its_first_line(self) -> None:
        failed = check(Outcome.FAIL, detail="Codes leave the grid.\nassert False")
        reason = only(judge(record(suites=(suite(failed),)), None))
        assert reason.kind is Kind.CHECK_FAILED
        assert reason.subject == f"coremltools 9.0: {failed.check}"
        assert reason.sentence == f"coremltools 9.0 fails {failed.check}: Codes leave the grid."

    def test_a_detail_that_names_the_implementation_is_not_prefixed(self) -> None:
        failed = check(Outcome.FAIL, detail="coremltools 9.0 violates Q.1: codes leave the grid")
        reason = only(judge(record(suites=(suite(failed),)), None))
        assert reason.sentence == f"{failed.detail} ({failed.check})"

    def test_the_parameters_of_a_check_share_one_reason(self) -> None:
        names = ("properties/a.py::one[int8]", "properties/a.py::one[int4]")
        failed = [check(Outcome.FAIL, check=name, detail="Cause.") for name in names]
        reason = only(judge(record(suites=(suite(*failed),)), None))
        assert reason.subject == "coremltools 9.0: properties/a.py::one"
        assert reason.sentence == "coremltools 9.0 fails 2 checks of properties/a.py::one: Cause."

    def test_properties_come_before_goldens(self) -> None:
        failed = [
            check(Outcome.FAIL, check=kind, kind=kind, detail=kind)
            for kind in ("golden", "property")
        ]
        reasons = judge(record(suites=(suite(*failed),)), None).reasons
        assert [found.subject.split(": ")[1] for found in reasons] == ["property", "golden"]

    def test_a_failed_check_without_detail_says_so(self) -> None:
        reason = only(judge(record(suites=(suite(check(Outcome.FAIL)),)), None))
        assert reason.sentence.endswith(": no detail was recorded.")

    def test_a_fixed_deviation_is_a_regression_that_names_the_entry(self) -> None:
        fixed = check(Outcome.FIXED, deviation="D-12")
        reason = only(judge(record(suites=(suite(fixed),)), None))
        assert reason.kind is Kind.DEVIATION_FIXED
        assert reason.sentence == (
            f"coremltools 9.0 passes {fixed.check} although the registry lists it as a "
            "deviation; remove the entry D-12."
        )

    def test_a_listed_deviation_passes(self) -> None:
        deviating = check(Outcome.DEVIATION, deviation="D-12")
        assert judge(record(suites=(suite(deviating),)), None).status is Status.PASS

    def test_a_deviation_without_an_entry_is_a_regression(self) -> None:
        reason = only(judge(record(suites=(suite(check(Outcome.DEVIATION)),)), None))
        assert reason.kind is Kind.DEVIATION_UNNAMED

    def test_fewer_checks_than_expected_is_a_regression(self) -> None:
        reason = only(judge(record(suites=(suite(checks_expected=3),)), None))
        assert reason.kind is Kind.CHECKS_NOT_EXECUTED
        assert reason.sentence == (
            "Only 1 of the 3 checks of the suite were executed on coremltools 9.0."
        )

    def test_why_checks_were_not_executed_is_said(self) -> None:
        causes = ["no model.", "no model.\nMore.", "too late", "", "a", "b"]
        left = [
            check(Outcome.NOT_MEASURED, check=str(number), detail=cause)
            for number, cause in enumerate(causes)
        ]
        reason = only(judge(record(suites=(suite(check(), *left),)), None))
        assert reason.sentence == (
            "Only 1 of the 7 checks of the suite were executed on coremltools 9.0: "
            "no model (2 checks); too late (1 check); a (1 check); 1 more reason."
        )

    def test_a_check_that_was_not_measured_was_not_executed(self) -> None:
        checks = suite(check(), check(Outcome.NOT_MEASURED, check="b"))
        assert only(judge(record(suites=(checks,)), None)).kind is Kind.CHECKS_NOT_EXECUTED

    def test_an_unsupported_check_counts_as_executed(self) -> None:
        checks = suite(check(), check(Outcome.UNSUPPORTED, check="b"))
        assert judge(record(suites=(checks,)), None).status is Status.PASS

    def test_a_check_listed_twice_does_not_stand_in_for_another(self) -> None:
        checks = suite(check(), check(), checks_expected=2)
        assert only(judge(record(suites=(checks,)), None)).kind is Kind.CHECKS_NOT_EXECUTED


class TestNothingMeasured:
    def test_an_empty_record_measured_nothing(self) -> None:
        empty = record(suites=(), agreements=(), models=())
        assert judge(empty, None).status is Status.NOTHING_MEASURED
        assert judge(empty, record()).status is Status.NOTHING_MEASURED

    @pytest.mark.parametrize("outcome", [Outcome.NOT_MEASURED, Outcome.UNSUPPORTED])
    def test_checks_without_a_judgement_measured_nothing(self, outcome: Outcome) -> None:
        verdict = judge(record(suites=(suite(check(outcome)),)), None)
        assert verdict.status is Status.NOTHING_MEASURED
        assert verdict.headline == "Nothing measured: 2 reasons"

    def test_a_suite_without_checks_measured_nothing(self) -> None:
        none = SuiteRun(implementation="x", version="1", checks_expected=0, checks=())
        assert judge(record(suites=(none,)), None).status is Status.NOTHING_MEASURED

    def test_one_suite_without_a_judgement_beside_another_is_a_regression(self) -> None:
        idle = suite(check(Outcome.UNSUPPORTED), implementation="other")
        reason = only(judge(record(suites=(suite(), idle)), None))
        assert reason.kind is Kind.NOTHING_MEASURED
        assert reason.subject == "other 9.0"

    def test_a_broken_model_outranks_a_suite_that_measured_nothing(self) -> None:
        broken = record(suites=(suite(check(Outcome.UNSUPPORTED)),), models=(model(error="no"),))
        assert judge(broken, None).status is Status.REGRESSION

    @pytest.mark.parametrize(
        "left", [{"agreements": ()}, {"models": ()}], ids=["models alone", "agreement alone"]
    )
    def test_a_record_without_suites_can_pass(self, left: dict[str, Any]) -> None:
        assert judge(record(suites=(), **left), None).status is Status.PASS


class TestAgreement:
    def test_unexplained_differences_are_a_regression(self) -> None:
        found = agreement(equal=199, differences=("Program 81: one\nadds an offset.",))
        reason = only(judge(record(agreements=(found,)), None))
        assert reason.kind is Kind.CASES_DIFFER
        assert reason.sentence == (
            "reference 1.0 and coremltools 9.0 differ in 1 way that no registry entry explains "
            "over 200 programs (seed 7); the first: Program 81: one"
        )

    def test_differences_that_are_only_counted_are_a_regression(self) -> None:
        reason = only(judge(record(agreements=(agreement(equal=190, deviating={"D": 7}),)), None))
        assert "differ in 3 ways" in reason.sentence

    def test_differences_that_are_only_listed_are_a_regression(self) -> None:
        assert only(judge(record(agreements=(agreement(differences=("x",)),)), None))

    def test_differences_that_deviations_explain_pass(self) -> None:
        explained = agreement(equal=190, deviating={"D-1": 7, "D-2": 3})
        assert judge(record(agreements=(explained,)), None).status is Status.PASS

    def test_no_cases_is_a_regression(self) -> None:
        reason = only(judge(record(agreements=(agreement(cases=0, equal=0),)), None))
        assert reason.kind is Kind.NO_CASES


class TestModels:
    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"error": "ValueError: no\nsuch thing"}, Kind.MODEL_ERROR),
            ({"reloads": False}, Kind.DOES_NOT_RELOAD),
            ({"worst_error_in_steps": WORST_ERROR.value + 0.01}, Kind.ERROR_TOO_LARGE),
        ],
    )
    def test_a_bad_run_is_a_regression(self, fields: dict[str, Any], kind: Kind) -> None:
        reason = only(judge(record(models=(model(**fields),)), None))
        assert reason.kind is kind
        assert "basic-pitch 0.4.0 nmp with int4 per block 32" in reason.sentence
        assert reason.subject == (
            "coremltools 9.0: basic-pitch 0.4.0 nmp, int4 per block 32, iOS18"
        )

    @pytest.mark.parametrize("worst", [None, 0.5, WORST_ERROR.value])
    def test_a_worst_error_within_the_tolerance_passes(self, worst: float | None) -> None:
        assert judge(record(models=(model(worst_error_in_steps=worst),)), None).status is (
            Status.PASS
        )

    def test_the_tolerance_lies_between_rounding_and_truncating(self) -> None:
        rounding, truncating, float16 = 0.5, 1.0, 2 * 255 * 2**-11
        assert rounding + float16 <= WORST_ERROR.value < truncating


hostile = st.text(alphabet=st.sampled_from("a \n\r\t\x1b\x00\u2028<|`*\x85"), max_size=12)


@given(hostile, hostile)
def test_every_reason_is_one_printable_line(name: str, detail: str) -> None:
    bad = record(
        suites=(suite(check(Outcome.FAIL, check=name, detail=detail), implementation=name),),
        agreements=(agreement(equal=0, differences=(detail,), against=name),),
        models=(model(error=detail, model=name),),
    )
    for reason in judge(bad, record()).reasons:
        assert reason.sentence.isprintable()
        assert reason.subject.isprintable()


counted = st.integers(min_value=0, max_value=10**6)
clean_checks = st.lists(
    st.sampled_from([Outcome.PASS, Outcome.DEVIATION, Outcome.UNSUPPORTED]), max_size=5
)


@given(clean_checks, counted, st.floats(0, 200), st.dictionaries(hostile, st.floats(0, 9)))
def test_a_clean_record_passes_against_itself_without_notes(
    outcomes: list[Outcome], size: int, snr: float, metrics: dict[str, float]
) -> None:
    checks = [check(o, check=f"c{i}", deviation="D-1") for i, o in enumerate(outcomes)]
    clean = record(
        suites=(suite(check(), *checks, metrics=metrics),),
        models=(model(bytes=size, weight_snr_db=snr), model(target="iOS17")),
    )
    assert judge(clean, clean) == Verdict(status=Status.PASS)
