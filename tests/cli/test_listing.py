"""``coreml-assay deviations`` tells every entry, in lines that fit a terminal."""

from __future__ import annotations

import json

from click.testing import CliRunner

from coreml_assay.cli import main
from coreml_assay.conformance.registry import load_deviations


def listed(*options):
    result = CliRunner().invoke(main, ["deviations", *options])
    assert result.exit_code == 0
    return result.output


def test_every_deviation_is_told_within_80_columns():
    lines = listed().splitlines()
    assert max(map(len, lines)) <= 80
    entries = [line.split()[1] for line in lines if not line.startswith(" ")]
    assert entries == [each.id for each in load_deviations()]


def test_an_option_that_a_version_lacks_is_not_decided_for():
    text = " ".join(listed().split())
    absent = [each for each in load_deviations() if each.decision == "absent"]
    assert absent
    assert text.count("; not offered there") == len(absent)
    assert "decided for: absent" not in text


def test_the_entries_as_json_have_their_reproductions():
    found = json.loads(listed("--json"))
    assert [each["id"] for each in found] == [each.id for each in load_deviations()]
    assert all(each["reproduction"] for each in found if each["decision"] != "absent")
