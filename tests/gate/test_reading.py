"""Records on disk: what is written reads back, and whatever else is there gives RecordError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import agreement, check, model, record, suite
from hypothesis import given
from hypothesis import strategies as st

from coreml_assay.records import (
    SCHEMA_VERSION,
    Outcome,
    Record,
    RecordError,
    SuiteRun,
    read_record,
    write_record,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "record.json"


FULL = record(
    suites=(suite(check(Outcome.DEVIATION, deviation="D-1"), metrics={"ratio": 1.5}),),
    agreements=(agreement(deviating={"D-1": 1}, equal=198, differences=("one",)),),
    models=(model(), model(error="no", target="iOS17")),
)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
suites = st.builds(
    SuiteRun,
    implementation=texts,
    version=texts,
    checks_expected=st.integers(0, 10**9),
    checks=st.lists(
        st.builds(check, st.sampled_from(Outcome), check=texts, detail=texts), max_size=3
    ).map(tuple),
    metrics=st.dictionaries(texts, finite, max_size=3),
)
models = st.builds(
    model,
    model=texts,
    error=st.none() | texts,
    compressed=st.lists(texts, max_size=3).map(tuple),
    skipped=st.dictionaries(texts, texts, max_size=3),
    weight_snr_db=st.none() | finite,
    reloads=st.booleans(),
)
records = st.builds(
    record,
    seed=st.integers(0, 2**63 - 1),
    suites=st.lists(suites, max_size=2).map(tuple),
    models=st.lists(models, max_size=2).map(tuple),
)


@given(records)
def test_a_record_reads_back_as_it_was_written(path: Path, written: Record) -> None:
    write_record(written, path)
    assert read_record(path) == written


def refused(path: Path, content: bytes) -> str:
    """The message with which content is refused, after checking that it is one line."""
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_record(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_record_cut_off_anywhere_is_refused(path: Path) -> None:
    write_record(FULL, path)
    content = path.read_bytes().rstrip()
    for length in range(len(content)):
        refused(path, content[:length])


REQUIRED = {
    Record: {"tool_version", "created", "seed", "profile", "environment", "schema_version"},
    "environment": {"python", "platform", "machine", "cpu_count", "packages"},
    "suites": {"implementation", "version", "checks_expected", "checks"},
    "checks": {"check", "kind", "clauses", "outcome"},
    "agreements": {
        *("implementation", "version", "against", "against_version"),
        *("seed", "cases", "equal"),
    },
    "models": {
        *("model", "model_sha256", "configuration", "target"),
        *("implementation", "version"),
    },
}


def required_fields(tree: dict[str, Any], name: object) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object in a decoded record with the name of one of its required fields."""
    yield from ((tree, field) for field in sorted(REQUIRED[name]))
    for field, value in tree.items():
        if field in REQUIRED:
            for each in value if isinstance(value, list) else [value]:
                yield from required_fields(each, field)


def test_a_record_without_any_one_required_field_is_refused(path: Path) -> None:
    write_record(FULL, path)
    tree = json.loads(path.read_bytes())
    removed = 0
    for parent, field in required_fields(tree, Record):
        value = parent.pop(field)
        assert field in refused(path, json.dumps(tree).encode())
        parent[field] = value
        removed += 1
    assert removed == 6 + 5 + 4 + 4 + 7 + 2 * 6


def test_a_record_without_an_optional_field_reads(path: Path) -> None:
    write_record(FULL, path)
    tree = json.loads(path.read_bytes())
    del tree["agreements"]
    path.write_text(json.dumps(tree))
    assert read_record(path).agreements == ()


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(path: Path, content: bytes) -> None:
    refused(path, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema_version": 1, "tool_version": "\xff"}', "utf-8"),
        (b'{"schema_version": 1, "deep": ' + b"[" * 100_000, "recursion"),
        (b'{"schema_version": null}', "schema_version"),
        (b'{"schema_version": 1e999}', "schema_version"),
        (b"[]", "object"),
    ],
)
def test_hostile_bytes_are_refused(path: Path, content: bytes, says: str) -> None:
    assert says in refused(path, content)


def test_a_field_unknown_to_the_schema_is_refused_on_one_line(path: Path) -> None:
    write_record(FULL, path)
    tree = {**json.loads(path.read_bytes()), "two\nlines": 1}
    assert "unknown field" in refused(path, json.dumps(tree).encode())


def test_a_newer_schema_is_refused_before_its_fields_are_looked_at(path: Path) -> None:
    newer = {"schema_version": SCHEMA_VERSION + 1, "unheard_of": True}
    message = refused(path, json.dumps(newer).encode())
    assert f"record schema {SCHEMA_VERSION + 1}" in message
    assert "a newer coreml-assay is needed" in message


def test_a_missing_file_and_a_folder_are_refused(path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        read_record(path.parent / "absent.json")
    with pytest.raises(RecordError, match="cannot be read: Is a directory"):
        read_record(path.parent)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_that_json_cannot_hold_is_refused_where_it_arises(value: float) -> None:
    with pytest.raises(ValueError, match=r"ratio is .*, which a record cannot hold"):
        suite(metrics={"ratio": value})
    for field in ("weight_snr_db", "worst_error_in_steps"):
        with pytest.raises(ValueError, match=field):
            model(**{field: value})
