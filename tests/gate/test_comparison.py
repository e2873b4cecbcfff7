"""Each rule of the comparison with a baseline, by a record that breaks that rule alone."""

from __future__ import annotations

from typing import Any

import pytest
from factories import agreement, check, model, only, record, suite

from coreml_assay.gate import Kind, Status, Verdict, judge
from coreml_assay.gate.tolerances import SNR
from coreml_assay.records import Outcome, Record


def changed(**fields: Any) -> tuple[Record, Record]:
    """A record whose only model differs in some fields from the baseline's."""
    return record(models=(model(**fields),)), record()


class TestAgainstABaseline:
    @pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PASS])
    def test_a_check_that_no_longer_passes_is_a_regression(self, outcome: Outcome) -> None:
        other = check(check="other")
        entry = "D-1" if outcome in (Outcome.DEVIATION, Outcome.FIXED) else None
        now = record(suites=(suite(other, check(outcome, deviation=entry, detail="Because.")),))
        verdict = judge(now, record(suites=(suite(other, check()),)))
        assert verdict.status is Status.REGRESSION
        about = [each for each in verdict.reasons if each.subject.endswith(check().check)]
        assert len(about) == 1

    def test_the_sentence_on_a_lost_pass_names_outcome_entry_and_cause(self) -> None:
        now = record(suites=(suite(check(Outcome.DEVIATION, deviation="D-1", detail="Why.")),))
        reason = only(judge(now, record()))
        assert reason.kind is Kind.PASS_LOST
        assert reason.sentence == (
            f"{check().check} used to pass on coremltools 9.0 and is now deviation D-1: Why."
        )

    def test_a_check_that_is_missing_is_a_regression(self) -> None:
        old = record(suites=(suite(check(), check(check="gone")),))
        reason = only(judge(record(), old))
        assert reason.kind is Kind.MISSING
        assert reason.sentence == (
            "gone used to pass on coremltools 9.0 and is missing from the record."
        )

    def test_a_check_that_starts_to_pass_is_a_note(self) -> None:
        old = record(suites=(suite(check(Outcome.DEVIATION, deviation="D-1")),))
        verdict = judge(record(), old)
        assert verdict.status is Status.PASS
        assert [note.kind for note in verdict.notes] == [Kind.IMPROVED]

    def test_a_new_check_is_a_note(self) -> None:
        verdict = judge(record(suites=(suite(check(), check(check="new")),)), record())
        assert verdict.status is Status.PASS
        assert [note.sentence for note in verdict.notes] == [
            "coremltools 9.0 has 1 check that the baseline does not have."
        ]

    @pytest.mark.parametrize("part", ["suites", "agreements", "models"])
    def test_what_is_missing_from_the_record_is_a_regression(self, part: str) -> None:
        extra = {
            "suites": (suite(), suite(implementation="other")),
            "agreements": (agreement(), agreement(against="other")),
            "models": (model(), model(model="other")),
        }[part]
        reason = only(judge(record(), record(**{part: extra})))
        assert reason.kind is Kind.MISSING
        assert "other" in reason.subject

    @pytest.mark.parametrize("part", ["suites", "agreements", "models"])
    def test_what_is_missing_from_the_baseline_is_a_note(self, part: str) -> None:
        verdict = judge(record(), record(**{part: ()}))
        assert verdict.status is Status.PASS
        assert [note.kind for note in verdict.notes] == [Kind.NEW]

    @pytest.mark.parametrize(
        ("now", "before", "kind"),
        [
            ({"ratio": 1.0 + 2**-40}, {"ratio": 1.0}, Kind.METRIC_ROSE),
            ({}, {"ratio": 1.0}, Kind.FIGURE_LOST),
        ],
    )
    def test_a_worse_metric_is_a_regression(
        self, now: dict[str, float], before: dict[str, float], kind: Kind
    ) -> None:
        old = record(suites=(suite(metrics=before),))
        assert only(judge(record(suites=(suite(metrics=now),)), old)).kind is kind

    def test_a_better_metric_is_a_note(self) -> None:
        old = record(suites=(suite(metrics={"ratio": 2.0}),))
        verdict = judge(record(suites=(suite(metrics={"ratio": 1.0}),)), old)
        assert verdict.status is Status.PASS
        assert [note.kind for note in verdict.notes] == [Kind.IMPROVED]

    def test_fewer_agreement_cases_are_a_regression(self) -> None:
        reason = only(judge(record(agreements=(agreement(cases=199, equal=199),)), record()))
        assert reason.kind is Kind.FEWER_CASES
        assert "199 programs" in reason.sentence
        assert "there were 200" in reason.sentence

    def test_fewer_equal_programs_of_the_same_seed_are_a_regression(self) -> None:
        fewer = agreement(equal=199, deviating={"D-1": 1})
        assert only(judge(record(agreements=(fewer,)), record())).kind is Kind.FEWER_EQUAL

    def test_equal_programs_of_different_seeds_are_not_compared(self) -> None:
        fewer = agreement(equal=199, deviating={"D-1": 1}, seed=8)
        assert judge(record(agreements=(fewer,)), record()).status is Status.PASS

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"bytes": 210_001}, Kind.SIZE_GREW),
            ({"bytes": 0}, Kind.FIGURE_LOST),
            ({"operations": {"conv": 2}}, Kind.OPERATIONS_CHANGED),
            ({"operations": {}}, Kind.FIGURE_LOST),
            ({"weight_snr_db": 21.5 - 1.01 * SNR.value}, Kind.SNR_FELL),
            ({"weight_snr_db": None}, Kind.FIGURE_LOST),
            ({"worst_error_in_steps": None}, Kind.FIGURE_LOST),
            ({"model_sha256": "00" * 32}, Kind.MODEL_REPLACED),
            ({"compressed": ("conv_1.weight",)}, Kind.WEIGHT_NOT_COMPRESSED),
        ],
    )
    def test_a_worse_model_run_is_a_regression(self, fields: dict[str, Any], kind: Kind) -> None:
        verdict = judge(*changed(**fields))
        assert only(verdict).kind is kind
        assert verdict.notes == ()

    @pytest.mark.parametrize(
        "fields",
        [
            {"bytes": 209_999},
            {"compressed": ("conv_1.weight", "conv_2.weight", "conv_3.weight")},
            {"weight_snr_db": 22.0},
        ],
    )
    def test_a_better_model_run_is_a_note(self, fields: dict[str, Any]) -> None:
        verdict = judge(*changed(**fields))
        assert verdict.status is Status.PASS
        assert [note.kind for note in verdict.notes] == [Kind.IMPROVED]

    @pytest.mark.parametrize("part", [-0.9, 0.9])
    def test_a_ratio_within_the_tolerance_is_not_mentioned(self, part: float) -> None:
        verdict = judge(*changed(weight_snr_db=21.5 + part * SNR.value))
        assert verdict == Verdict(status=Status.PASS)

    def test_a_weight_no_longer_compressed_is_named_with_the_reason(self) -> None:
        skipped = {"conv_2.weight": "33 channels are not divisible by block 32"}
        reason = only(judge(*changed(compressed=("conv_1.weight",), skipped=skipped)))
        assert reason.sentence.endswith(
            "no longer compresses the weight conv_2.weight: "
            "33 channels are not divisible by block 32"
        )

    def test_another_program_alone_is_a_note(self) -> None:
        verdict = judge(*changed(program_sha256="00" * 32))
        assert verdict.status is Status.PASS
        assert [note.kind for note in verdict.notes] == [Kind.CHANGED]

    def test_another_program_is_not_mentioned_beside_what_shows_it(self) -> None:
        verdict = judge(*changed(program_sha256="00" * 32, bytes=210_001))
        assert only(verdict).kind is Kind.SIZE_GREW
        assert verdict.notes == ()

    def test_a_model_that_works_again_is_a_note(self) -> None:
        verdict = judge(record(), record(models=(model(error="no", model_sha256=""),)))
        assert verdict.status is Status.PASS
        assert [note.kind for note in verdict.notes] == [Kind.IMPROVED]

    def test_an_upgrade_does_not_excuse_a_change_and_both_versions_are_said(self) -> None:
        now = record(suites=(suite(version="9.1"),), models=(model(version="9.1", bytes=210_001),))
        reason = only(judge(now, record()))
        assert "coremltools 9.1 (9.0 in the baseline)" in reason.sentence

    def test_two_versions_in_one_record_are_compared_each_with_its_own(self) -> None:
        versions = (
            suite(version="8.3", metrics={"ratio": 3.0}),
            suite(version="9.0", metrics={"ratio": 1.0}),
        )
        swapped = record(suites=versions[::-1])
        assert judge(swapped, record(suites=versions)) == Verdict(status=Status.PASS)
        for old in (versions, versions[::-1]):
            reason = only(judge(record(suites=versions[1:]), record(suites=old)))
            assert (reason.kind, reason.subject) == (Kind.MISSING, "coremltools 8.3")

    def test_runs_are_paired_by_what_they_are_and_not_by_their_order(self) -> None:
        agreements = (agreement(), agreement(against="other", cases=10, equal=10))
        models = (model(), model(target="iOS17", bytes=1))
        shown = record(agreements=agreements, models=models)
        turned = record(agreements=agreements[::-1], models=models[::-1])
        assert judge(shown, turned) == Verdict(status=Status.PASS)

    def test_another_profile_is_a_note(self) -> None:
        verdict = judge(record(profile="full"), record())
        assert verdict.status is Status.PASS
        assert "profile full" in verdict.notes[0].sentence
