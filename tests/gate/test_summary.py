"""The Markdown summary and the JUnit XML, read back by parsers where there are any."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import junitparser
import pytest
from factories import check, model, record, suite
from hypothesis import given
from hypothesis import strategies as st
from test_accuracy_gate import run as accuracy

from coreml_assay.gate import Kind, Reason, Status, Verdict, judge, junit_xml, markdown
from coreml_assay.records import Outcome

CHECKS = suite(
    check(check="passes"),
    check(Outcome.FAIL, check="fails", detail="One sentence.\nassert 1 == 2\n"),
    check(Outcome.DEVIATION, check="deviates", deviation="D-1", detail="Known."),
    check(Outcome.FIXED, check="fixed", deviation="D-2"),
    check(Outcome.UNSUPPORTED, check="unsupported", detail="no palettization here"),
    check(Outcome.NOT_MEASURED, check="unmeasured"),
    metrics={"ratio": 1.5},
)
RECORD = record(suites=(CHECKS,))
VERDICT = judge(RECORD, None)


class TestMarkdown:
    def test_the_headline_comes_first_and_every_reason_is_listed(self) -> None:
        text = markdown(RECORD, VERDICT)
        assert text.startswith("## coreml-assay: Regression: 3 reasons\n")
        assert "\n- coremltools 9.0 fails fails: One sentence.\n" in text
        assert text.count("\n- ") == len(VERDICT.reasons)

    def test_a_clean_record_has_no_list_of_reasons(self) -> None:
        text = markdown(record(), judge(record(), None))
        assert "Reasons" not in text
        assert "Notes" not in text

    def test_notes_are_listed(self) -> None:
        text = markdown(record(), judge(record(), record(models=())))
        assert "### Notes\n\n- coremltools 9.0 on basic-pitch 0.4.0 nmp" in text

    def test_checks_are_counted_by_outcome(self) -> None:
        assert "| coremltools 9.0 | 5 of 6 | 1 | 1 | 1 | 1 | 1 | 1 |" in markdown(RECORD, VERDICT)

    def test_a_model_run_is_a_row(self) -> None:
        assert (
            "| basic-pitch 0.4.0 nmp | int4 per block 32 | coremltools 9.0 | 800 kB → 210 kB "
            "| 2 of 3 | 21.5 dB | 0.500 steps |"
        ) in markdown(RECORD, VERDICT)

    def test_an_accuracy_run_is_a_row(self) -> None:
        known = accuracy(score=0.1, known="the last sample", implementation="coremltools")
        broken = accuracy(configuration="W4A8", error="no | such", outputs=(), score=None)
        text = markdown(record(accuracy=(accuracy(), known, broken)), VERDICT)
        assert (
            "### Accuracy: digits CNN\n\n540 digits; digits told right, float model: 0.990" in text
        )
        for row in (
            "| configuration | implementation | size | SNR, worst output | digits told right |",
            "| W8A8 | reference 1.0 | 60 kB | 40.0 dB | 0.985 |",
            "| W8A8 | coremltools 1.0 | 60 kB | 40.0 dB | 0.100 (known: the last sample) |",
            "| W4A8 | reference 1.0 | error: no &#124; such |  |  |",
        ):
            assert row in text.splitlines()

    def test_a_model_without_a_task_has_no_score(self) -> None:
        bare = accuracy(metric=None, float_score=None, score=None)
        text = markdown(record(accuracy=(bare,)), VERDICT)
        assert "\n540 digits\n" in text
        assert "| W8A8 | reference 1.0 | 60 kB | 40.0 dB | not measured |" in text.splitlines()

    def test_what_was_not_measured_is_no_number(self) -> None:
        bare = model(
            float_bytes=0,
            bytes=0,
            compressed=(),
            skipped={},
            weight_snr_db=None,
            worst_error_in_steps=None,
        )
        text = markdown(record(models=(bare,)), VERDICT)
        assert "| coremltools 9.0" + " | not measured" * 4 + " |" in text

    def test_an_error_stands_in_the_row(self) -> None:
        text = markdown(record(models=(model(error="no | such"),)), VERDICT)
        assert "| error: no &#124; such | not measured |" in text

    def test_a_long_list_is_cut_and_says_so(self) -> None:
        reason = Reason(subject="s", kind=Kind.MISSING, sentence="S.")
        verdict = Verdict(status=Status.REGRESSION, reasons=(reason,) * 1060)
        text = markdown(record(), verdict)
        assert text.count("\n- S.") == 50
        assert "- and 1,010 more, in the report" in text

    def test_foreign_text_cannot_become_markup(self) -> None:
        nasty = "<img src=x> [a](http://b) `c` **d** | e\n# f @g ~~h~~ $i$ &lt;"
        text = markdown(record(suites=(suite(implementation=nasty),)), VERDICT)
        (row,) = (line for line in text.splitlines() if "img src" in line)
        assert not set("<>[]`*#@~$") & set(re.sub(r"&#\d+;", "", row))
        assert row.count("|") == 9


class TestJUnit:
    def cases(self) -> dict[str, junitparser.TestCase]:
        xml = junitparser.JUnitXml.fromstring(junit_xml(RECORD, VERDICT))
        return {case.name: case for each in xml for case in each}

    def test_there_is_a_case_per_check_and_one_for_the_verdict(self) -> None:
        assert list(self.cases()) == ["verdict", *(each.check for each in CHECKS.checks)]

    @pytest.mark.parametrize(
        ("name", "kind", "message", "text"),
        [
            ("fails", junitparser.Failure, "One sentence.", "assert 1 == 2"),
            (
                "fixed",
                junitparser.Failure,
                "passes although the registry lists it; remove the entry D-2",
                None,
            ),
            ("deviates", junitparser.Skipped, "deviation D-1: Known.", "Known."),
            (
                "unsupported",
                junitparser.Skipped,
                "unsupported: no palettization here",
                "no palettization here",
            ),
            ("unmeasured", junitparser.Skipped, "not measured", None),
        ],
    )
    def test_an_outcome_becomes_a_result(
        self, name: str, kind: type, message: str, text: str | None
    ) -> None:
        (result,) = self.cases()[name].result
        assert type(result) is kind
        assert result.message == message
        assert (result.text or None) == text

    def test_a_pass_has_no_result(self) -> None:
        assert self.cases()["passes"].is_passed

    def test_the_verdict_holds_every_reason(self) -> None:
        (failure,) = self.cases()["verdict"].result
        assert failure.message == "Regression: 3 reasons"
        assert failure.text.splitlines() == [each.sentence for each in VERDICT.reasons]

    @pytest.mark.parametrize("status", [Status.REGRESSION, Status.NOTHING_MEASURED])
    def test_any_verdict_but_a_pass_fails(self, status: Status) -> None:
        xml = junitparser.JUnitXml.fromstring(junit_xml(record(), Verdict(status=status)))
        assert xml.failures == 1

    def test_a_clean_record_has_no_failures(self) -> None:
        xml = junitparser.JUnitXml.fromstring(junit_xml(record(), judge(record(), None)))
        assert (xml.tests, xml.failures, xml.skipped) == (2, 0, 0)

    def test_clauses_and_metrics_are_properties(self) -> None:
        root = ElementTree.fromstring(junit_xml(RECORD, VERDICT))
        case = root.find(".//testcase[@name='deviates']")
        assert case is not None
        found = {each.get("name"): each.get("value") for each in case.iter("property")}
        assert found == {
            "kind": "property",
            "outcome": "deviation",
            "clauses": "W.1",
            "deviation": "D-1",
        }
        suite_properties = root.find(".//testsuite[@name='coremltools 9.0']/properties")
        assert suite_properties is not None
        assert {each.get("name"): each.get("value") for each in suite_properties} == {
            "checks_expected": "6",
            "ratio": "1.5",
        }


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x7f", "\x9b", "\ud800", "\ufffe", "\uffff"]
)
def test_what_terminals_and_xml_cannot_take_is_replaced(character: str) -> None:
    nasty = record(suites=(suite(check(Outcome.FAIL, detail=f"a{character}b\nc{character}d")),))
    verdict = judge(nasty, None)
    text = junit_xml(nasty, verdict).decode() + markdown(nasty, verdict)
    assert character not in text
    assert "a\ufffdb" in text
    assert "c\ufffdd" in text
    ElementTree.fromstring(junit_xml(nasty, verdict))


@given(st.text(max_size=30), st.sampled_from(Outcome))
def test_any_text_gives_well_formed_xml(text: str, outcome: Outcome) -> None:
    nasty = record(
        suites=(
            suite(
                check(outcome, check=text, detail=text, deviation=text, clauses=(text,)),
                implementation=text,
                metrics={text: 1.0},
            ),
        )
    )
    ElementTree.fromstring(junit_xml(nasty, judge(nasty, None)))
