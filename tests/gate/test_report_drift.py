"""Drift as the report shows it."""

from __future__ import annotations

from factories import record
from pages import Page

from coreml_assay.gate import judge, render
from coreml_assay.gate.drift import Change, Drift
from coreml_assay.records import Record


def page(shown: Record, *drifts: Drift) -> Page:
    return Page(render(shown, judge(shown, None), (), (), drifts))


def test_each_change_has_its_number_and_its_example() -> None:
    change = Change(
        kind="programs", what="gptq: lines <of>", count=2, of=7, example="a: line 3\n- b\n+ c"
    )
    drift = Drift(old="x-1", new="x-2", compared=("this", "that"), changes=(change,))
    same = Drift(old="x-2", new="x-3", compared=("this",), changes=())
    shown = page(record(), drift, same)
    assert "x-1 → x-2 1 change Compared: this, that" in shown.text
    assert "programs gptq: lines <of> 2 of 7 a: line 3 - b + c" in shown.text
    assert "x-2 → x-3 no changes" in shown.text
    assert {"href": "#drift"} in shown.all("a")
    assert {"id": "drift"} in shown.all("section")


def test_without_versions_to_compare_there_is_no_section() -> None:
    shown = page(record())
    assert {"href": "#drift"} not in shown.all("a")
    assert {"id": "drift"} not in shown.all("section")
