"""The picture of signal-to-noise against size: what stands in it, and that it never varies."""

from __future__ import annotations

import base64
import itertools
from xml.etree import ElementTree

import pytest
from factories import record
from hypothesis import given
from hypothesis import strategies as st
from test_accuracy_gate import output, run

from coreml_assay.gate import judge, plots, render
from coreml_assay.gate.model_tables import accuracy_groups

NAMESPACE = "{http://www.w3.org/2000/svg}"


def picture(*runs):
    (group,) = accuracy_groups(record(accuracy=runs))
    return plots.signal_to_noise(group)


def drawing(*runs):
    """The picture's root element."""
    start, content = picture(*runs).split(",")
    assert start == "data:image/svg+xml;base64"
    return ElementTree.fromstring(base64.b64decode(content))


def texts(root):
    return [each.text for each in root.iter(f"{NAMESPACE}text")]


def with_ratio(decibels, **fields):
    return run(outputs=(output(snr_db=decibels), output(output="better", snr_db=90.0)), **fields)


def test_each_configuration_is_named_once_where_implementations_agree():
    found = texts(
        drawing(
            with_ratio(40.0),
            with_ratio(40.0, implementation="coremltools"),
            with_ratio(20.0, configuration="int4"),
            with_ratio(12.0, configuration="int4", implementation="coremltools"),
        )
    )
    assert [text for text in found if "W8A8" in text or "int4" in text] == [
        "W8A8",
        "int4, reference",
        "int4, coremltools",
    ]


def test_what_has_no_ratio_has_no_place():
    equal = run(configuration="equal", outputs=(output(snr_db=None, largest=0.0),))
    broken = run(configuration="broken", error="ValueError: no", outputs=())
    infinite = run(configuration="infinite", outputs=(output(snr_db=None, non_finite=1),))
    assert picture(equal, broken, infinite) is None
    found = texts(drawing(equal, broken, infinite, with_ratio(30.0)))
    assert not {"equal", "broken", "infinite"} & set(found)
    assert "W8A8" in found


def test_the_worst_output_counts():
    assert picture(with_ratio(40.0)) == picture(run(outputs=(output(snr_db=40.0),)))
    assert picture(with_ratio(40.0)) != picture(with_ratio(39.0))


def test_a_known_loss_is_a_cross_of_its_own_colour():
    crosses = {"stroke: var(--known)", "fill: var(--known)"}
    for score, known in ((0.1, True), (0.985, False)):
        lost = with_ratio(1.0, score=score, known="a reason")
        svg = ElementTree.tostring(drawing(lost), encoding="unicode")
        assert all((style in svg) is known for style in crosses)


def test_the_same_record_gives_the_same_bytes():
    first = picture(with_ratio(40.0), with_ratio(20.0, configuration="int4"))
    assert first == picture(with_ratio(40.0), with_ratio(20.0, configuration="int4"))
    assert b"<dc:date>" not in base64.b64decode(first.split(",")[1])


@pytest.mark.parametrize("name", ["$x_1$ \\frac", "<b>&amp;", "a\x00b\x1b", "%s {} é"])
def test_names_are_text_and_nothing_else(name):
    shown = name.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert shown in texts(drawing(with_ratio(40.0, configuration=name)))


def test_the_report_holds_the_picture_beside_the_table():
    made = record(accuracy=(with_ratio(40.0),))
    page = render(made, judge(made, None), (), ())
    assert picture(with_ratio(40.0)) in page
    assert 'alt="Signal-to-noise ratio' in page
    bare = record(accuracy=(run(error="ValueError: no", outputs=()),))
    assert "<img" not in render(bare, judge(bare, None), (), ())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_labels_never_touch_and_stay_inside(heights):
    placed = plots._apart(sorted(heights, reverse=True), 0.1)
    assert all(a - b >= 0.1 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[-1] >= 0
    assert placed[0] <= max(1, 0.1 * len(heights))
