"""The report as a reader finds it: what it says, that it stands alone, and that it is escaped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from factories import Clause, Deviation, agreement, check, model, record, suite
from hypothesis import given
from hypothesis import strategies as st
from pages import Page

from coreml_assay.gate import Status, Verdict, judge, render, write_report
from coreml_assay.gate.tables import Clause as ClauseProtocol
from coreml_assay.gate.tables import Deviation as DeviationProtocol
from coreml_assay.records import Environment, NotRun, Outcome, Record, read_record

CLAUSES = (
    Clause("W.1", "Codes lie inside the grid.", "https://example.org/grid"),
    Clause("W.2", "Zero is exact.", "the guide"),
    Clause("A.1", "Concatenated ranges are shared."),
)


def page(
    shown: Record,
    clauses: tuple[ClauseProtocol, ...] = CLAUSES,
    deviations: tuple[DeviationProtocol, ...] = (),
    verdict: Verdict | None = None,
) -> Page:
    return Page(render(shown, verdict or judge(shown, None), clauses, deviations))


class TestVerdict:
    def test_the_headline_and_every_reason_are_shown(self) -> None:
        checks = [check(Outcome.FAIL, check=f"c{i}", detail=f"Cause {i}.") for i in range(20)]
        shown = page(record(suites=(suite(*checks),)))
        assert "Regression: 20 reasons" in shown.text
        assert "12 more reasons" in shown.text
        assert all(f"coremltools 9.0 fails c{i}: Cause {i}." in shown.text for i in range(20))

    def test_notes_are_shown(self) -> None:
        clean = record()
        shown = page(clean, verdict=judge(clean, record(models=())))
        assert "1 note" in shown.text
        assert "is not in the baseline." in shown.text

    @pytest.mark.parametrize("status", list(Status))
    def test_each_status_is_shown_in_words(self, status: Status) -> None:
        shown = page(record(), verdict=Verdict(status=status))
        assert status.value.capitalize() in shown.text


class TestClauses:
    def test_a_cell_counts_outcomes_worst_first(self) -> None:
        checks = suite(check(), check(Outcome.FAIL, check="b"), check(check="c"))
        text = page(record(suites=(checks,))).text
        assert "https://example.org/grid ✗ fail 1 ✓ pass 2" in text

    def test_each_implementation_has_a_column(self) -> None:
        other = suite(check(Outcome.UNSUPPORTED), check(check="b"), implementation="reference")
        text = page(record(suites=(suite(), other))).text
        assert "Clause coremltools 9.0 reference 9.0" in text
        assert "https://example.org/grid ✓ pass 1 ○ unsupported 1 ✓ pass 1" in text

    def test_a_clause_without_a_check_is_visible(self) -> None:
        text = page(record()).text
        assert "W 1 of 2 clauses checked" in text
        assert "A 0 of 1 clause checked" in text
        assert "W.2 Zero is exact. no check names this clause the guide no check" in text
        assert text.count("no check names this clause") == 2

    def test_a_clause_that_only_a_check_names_is_visible(self) -> None:
        text = page(record(suites=(suite(check(clauses=("X.9",))),))).text
        assert "X.9 This clause is not in the list of clauses. 1 property ✓ pass 1" in text

    def test_each_check_of_a_clause_counts_once_under_its_kind(self) -> None:
        golden = check(check="goldens/test_a.py::test_b", kind="golden")
        text = page(record(suites=(suite(check(), golden), suite(check(), golden)))).text
        assert "1 golden, 1 property" in text


class TestManyImplementations:
    """More than three stand side by side as numbers; what is behind each is one link away."""

    def shown(self) -> Page:
        failing = suite(
            check(Outcome.FAIL, check="b", detail="Off by one.\nassert False"),
            check(Outcome.FAIL, check="c", detail="Off by one."),
            check(),
            version="8.0",
        )
        others = [suite(version=version) for version in ("8.1", "8.2", "9.0")]
        missing = (
            NotRun(implementation="absent", state="not installed", detail="get absent"),
            NotRun(implementation="broken", state="failed", detail="exit code 7", areas=("gptq",)),
        )
        clauses = (*CLAUSES, Clause("Q.1", "Of another letter."))
        return page(record(suites=(failing, *others), not_run=missing), clauses=clauses)

    def test_versions_of_one_implementation_have_columns_of_their_own(self) -> None:
        assert "Clause coremltools 8.0 coremltools 8.1 coremltools 8.2 coremltools 9.0" in (
            self.shown().text
        )

    def test_a_cell_counts_outcomes_worst_first(self) -> None:
        assert "W.1 Codes lie inside the grid. ✗ 2 ✓ 1 ✓ 1 ✓ 1 ✓ 1" in self.shown().text

    def test_clauses_of_an_area_stand_together(self) -> None:
        text = self.shown().text
        assert "weights 3 clauses W.1" in text
        assert text.index("Q.1 Of another letter.") < text.index("activations 1 clause A.1")

    def test_a_cell_that_is_not_all_passes_links_to_its_details(self) -> None:
        shown = self.shown()
        links = [each["href"] for each in shown.all("a") if each.get("title")]
        assert links == ["#cell-0-W.1"]
        assert "cell-0-W.1" in [each.get("id") for each in shown.all("details")]
        assert "coremltools 8.0 W.1 fail 2" in shown.text
        assert "✗ fail Off by one. 2 checks, the first b" in shown.text

    def test_what_could_not_be_run_is_named(self) -> None:
        text = self.shown().text
        assert "not installed absent is not installed: get absent" in text
        assert "failed The areas gptq could not be run on broken: exit code 7" in text


class TestFindings:
    def test_a_failure_shows_its_sentence_and_its_snippet(self) -> None:
        source = render(
            record(suites=(suite(check(Outcome.FAIL, detail="Off by one.\nassert 1 < 2")),)),
            Verdict(status=Status.REGRESSION),
            CLAUSES,
            (),
        )
        assert "<p>Off by one.</p>" in source
        assert '<pre tabindex="0">assert 1 &lt; 2</pre>' in source

    def test_a_fixed_deviation_says_what_to_do(self) -> None:
        shown = page(record(suites=(suite(check(Outcome.FIXED, deviation="D-3")),)))
        assert "Passes although the registry lists it; remove the entry D-3." in shown.text

    def test_a_deviation_shows_its_entry_and_the_checks_that_show_it(self) -> None:
        entry = Deviation("D-1", title="Zero point is 0", upstream="https://example.org/1")
        deviating = check(Outcome.DEVIATION, deviation="D-1", detail="Found 0.\nassert False")
        shown = page(
            record(
                suites=(suite(deviating),),
                agreements=(agreement(equal=197, deviating={"D-1": 3}),),
            ),
            deviations=(entry, Deviation("D-2", title="not shown")),
        )
        assert "D-1 major Zero point is 0 1 check, 3 compared programs" in shown.text
        assert "Documented what the documentation says Observed what happens" in shown.text
        assert "Found 0. assert False" in shown.text
        assert {"href": "https://example.org/1"} in shown.all("a")
        assert "not shown" not in shown.text

    def test_of_each_implementation_one_check_shows_all_it_found(self) -> None:
        found = [
            check(Outcome.DEVIATION, check=f"c{i}", deviation="D-1", detail=f"Found {i}.\nrun {i}")
            for i in range(3)
        ]
        suites = (suite(*found, version="1"), suite(*found[:1], version="2"))
        shown = page(record(suites=suites), deviations=(Deviation("D-1"),))
        assert (
            "coremltools 1 c0 Found 0. run 0 2 more checks c1 Found 1. c2 Found 2. "
            "coremltools 2 c0 Found 0. run 0"
        ) in shown.text

    def test_a_deviation_outside_the_registry_is_visible(self) -> None:
        shown = page(record(suites=(suite(check(Outcome.DEVIATION, deviation="D-9")),)))
        assert "D-9 not in the registry 1 check" in shown.text

    @pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//host"])
    def test_only_addresses_of_the_web_become_links(self, address: str) -> None:
        shown = page(
            record(suites=(suite(check(Outcome.DEVIATION, deviation="D-1")),)),
            clauses=(Clause("W.1", "text", address),),
            deviations=(Deviation("D-1", upstream=address),),
        )
        assert shown.text.count(address) == 2
        assert all((link["href"] or "").startswith("#") for link in shown.all("a"))


class TestFigures:
    def test_a_model_run_shows_its_figures(self) -> None:
        text = page(record()).text
        assert (
            "coremltools 9.0 800 kB → 210 kB 26.2 % 2 of 3 1 skipped "
            "bias it has fewer elements than weight_threshold 21.5 dB 0.500 steps"
        ) in text
        assert "4 operations 2 constexpr_blockwise_shift_scale 2 conv" in text

    def test_equal_and_unlike_programs_are_named(self) -> None:
        runs = tuple(
            model(implementation=name, program_sha256=sha)
            for name, sha in (("a", "1"), ("b", "1"), ("c", "2"))
        )
        text = page(record(models=runs)).text
        assert "equal to b 9.0; unlike c 9.0" in text
        assert "unlike a 9.0, b 9.0" in text

    def test_what_was_not_measured_is_no_number(self) -> None:
        bare = model(
            float_bytes=0,
            bytes=0,
            compressed=(),
            skipped={},
            operations={},
            weight_snr_db=None,
            worst_error_in_steps=None,
            program_sha256="",
        )
        text = page(record(models=(bare,))).text
        assert "coremltools 9.0 not measured not measured not measured not measured" in text

    def test_an_empty_record_says_not_measured_everywhere(self) -> None:
        text = page(record(suites=(), agreements=(), models=()), clauses=()).text
        for section in ("Checks", "Failures", "Deviations", "Models", "Agreement", "Metrics"):
            assert f"{section} not measured" in text

    def test_without_the_suite_no_clause_is_called_unchecked(self) -> None:
        text = page(record(suites=())).text
        assert "Clauses not measured" in text
        assert "no check names this clause" not in text

    def test_a_run_that_failed_or_does_not_reload_says_so(self) -> None:
        runs = (model(error="no such op"), model(target="iOS17", reloads=False))
        text = page(record(models=runs)).text
        assert "✗ error no such op" in text
        assert "✗ does not reload" in text

    def test_agreement_shows_counts_deviations_and_differences(self) -> None:
        found = agreement(equal=190, deviating={"D-1": 7}, differences=("Program 8: offset.",))
        text = page(record(agreements=(found,))).text
        assert "7 200 190 D-1 7 3 differences Program 8: offset." in text

    def test_differences_that_are_only_counted_are_shown(self) -> None:
        text = page(record(agreements=(agreement(equal=190),))).text
        assert "200 190 none 10 differences" in text

    def test_a_metric_missing_on_one_implementation_is_not_measured(self) -> None:
        both = (suite(metrics={"ratio": 1.25}), suite(implementation="other"))
        assert "ratio 1.25 not measured" in page(record(suites=both)).text


class TestPage:
    def test_it_stands_alone(self) -> None:
        source = render(record(), judge(record(), None), CLAUSES, ())
        shown = Page(source)
        assert not {"script", "link", "img", "iframe", "object"} & {n for n, _ in shown.elements}
        assert "@import" not in source
        assert "url(" not in source
        assert "prefers-color-scheme: dark" in source

    def test_every_outcome_is_explained_in_words(self) -> None:
        text = page(record()).text
        assert all(outcome.value in text for outcome in Outcome)

    def test_every_table_has_headers_and_every_anchor_a_target(self) -> None:
        shown = page(record())
        assert all(cell.get("scope") for cell in shown.all("th"))
        links = [link["href"] or "" for link in shown.all("a")]
        anchors = {link[1:] for link in links if link.startswith("#")}
        assert anchors == {each["id"] for each in shown.all("section")}

    def test_the_same_input_gives_the_same_page(self) -> None:
        first = render(record(), judge(record(), None), CLAUSES, ())
        assert first == render(record(), judge(record(), None), CLAUSES, ())


HOSTILE = "</style></pre><script>alert('x')</script>\"' onmouseover=x {{ 7*7 }} \x00\x1b[31m"


def hostile_record(text: str) -> Record:
    """A record with one text in every place that takes one."""
    named = {"implementation": text, "version": text}
    return record(
        tool_version=text,
        created=text,
        profile=text,
        environment=Environment(
            python=text, platform=text, machine=text, cpu_count=1, packages={text: text}
        ),
        suites=(
            suite(
                *(
                    check(o, check=text + o.value, clauses=(text,), detail=text, deviation=text)
                    for o in Outcome
                ),
                **named,
                metrics={text: 1.0},
            ),
        ),
        agreements=(
            agreement(
                **named,
                against=text,
                against_version=text,
                deviating={text: 1},
                differences=(text,),
            ),
        ),
        models=tuple(
            model(
                **named,
                model=text,
                model_sha256=text,
                configuration=text,
                target=text,
                error=error,
                skipped={text: text},
                operations={text: 1},
                program_sha256=text,
            )
            for error in (None, text)
        ),
    )


def hostile_page(text: str) -> Page:
    return page(
        hostile_record(text),
        clauses=(Clause(text, text, text), Clause("W.1", text, "https://" + text)),
        deviations=(Deviation(*[text] * 7, upstream=text),),
    )


def test_hostile_text_stays_text() -> None:
    plain, hostile = hostile_page("plain"), hostile_page(HOSTILE)
    assert [name for name, _ in hostile.elements] == [name for name, _ in plain.elements]
    assert [sorted(a) for _, a in hostile.elements] == [sorted(a) for _, a in plain.elements]
    assert "{{ 7*7 }}" in hostile.text
    assert not re.search(r"[\x00\x1b]", hostile.text)


@given(st.text(max_size=20))
def test_any_text_gives_a_page_that_nests(text: str) -> None:
    hostile_page(text)
    render(hostile_record(text), judge(hostile_record(text), None), (), ()).encode()


class TestWriting:
    def test_a_report_is_four_files(self, tmp_path: Path) -> None:
        shown, verdict = record(), judge(record(), None)
        folder = tmp_path / "new" / "report"
        write_report(folder, shown, verdict, CLAUSES, ())
        assert sorted(each.name for each in folder.iterdir()) == [
            "index.html",
            "junit.xml",
            "record.json",
            "summary.md",
        ]
        assert read_record(folder / "record.json") == shown
        assert (folder / "index.html").read_text() == render(shown, verdict, CLAUSES, ())

    def test_a_second_report_replaces_the_first(self, tmp_path: Path) -> None:
        verdict = judge(record(), None)
        write_report(tmp_path, record(seed=1), verdict, CLAUSES, ())
        write_report(tmp_path, record(seed=2), verdict, CLAUSES, ())
        assert read_record(tmp_path / "record.json").seed == 2
        assert len(list(tmp_path.iterdir())) == 4
