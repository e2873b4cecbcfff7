"""A cell's file counts only if it is whole, untouched, and stems from what there is today."""

from __future__ import annotations

from functools import partial
from importlib.machinery import PathFinder

import attrs
import msgspec
import pytest

from coreml_assay.conformance.traces import append_result
from coreml_assay.matrix import cells
from coreml_assay.matrix.cells import Cell, path_of, read_cell, stems_from, write_cell
from coreml_assay.records import CheckResult, Outcome, SuiteRun

CELL = Cell("reference", "gptq", 7, "quick")
CHECK = CheckResult(check="a.py::b", kind="property", clauses=("G.1",), outcome=Outcome.PASS)
SUITE = SuiteRun(implementation="x", version="1", checks_expected=1, checks=(CHECK,))


@pytest.fixture
def sources():
    return stems_from(CELL)


def test_what_was_written_reads_back(tmp_path, sources):
    assert read_cell(CELL, tmp_path, sources) is None
    write_cell(CELL, tmp_path, sources, SUITE)
    assert read_cell(CELL, tmp_path, sources) == SUITE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.replace(b'"pass"', b'"fail"'),
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\xff" + content,
        lambda content: b"[" * 100_000,
    ],
    ids=["tampered", "truncated", "empty", "not text", "nested without end"],
)
def test_a_file_that_was_touched_does_not_count(tmp_path, sources, spoil):
    write_cell(CELL, tmp_path, sources, SUITE)
    path = path_of(CELL, tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    assert read_cell(CELL, tmp_path, sources) is None


@pytest.mark.parametrize("key", sorted(stems_from(CELL)))
def test_a_file_that_stems_from_anything_else_does_not_count(tmp_path, sources, key):
    write_cell(CELL, tmp_path, {**sources, key: "something else"}, SUITE)
    assert read_cell(CELL, tmp_path, sources) is None


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"profile": "thorough"}, {"area": "weights"}, {"implementation": "x:y"}]
)
def test_what_is_asked_for_is_part_of_what_a_cell_stems_from(sources, change):
    assert stems_from(attrs.evolve(CELL, **change)) != sources


def test_the_code_of_an_implementation_is_part_of_what_a_cell_stems_from(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cell_sample.py").write_text("first")
    cell = attrs.evolve(CELL, implementation="cell_sample:Thing")
    before = stems_from(cell)
    cells._checksum_of_package.cache_clear()
    assert stems_from(cell) == before
    (tmp_path / "cell_sample.py").write_text("other")
    cells._checksum_of_package.cache_clear()
    assert stems_from(cell) != before


def test_packages_are_part_of_what_a_cell_stems_from(monkeypatch):
    cell = attrs.evolve(CELL, implementation="coremltools-8.0")
    before = stems_from(cell)
    entry = cells.catalogue()["coremltools-8.0"]
    other = msgspec.structs.replace(entry, packages=("coremltools==8.0.1",))
    monkeypatch.setattr(cells, "catalogue", lambda: {"coremltools-8.0": other})
    assert changed(before, stems_from(cell)) == ["its packages"]

    monkeypatch.undo()
    monkeypatch.setattr(cells, "distributions", lambda: [])
    cells._installed_packages.cache_clear()
    try:
        assert changed(before, stems_from(cell)) == ["installed packages"]
    finally:
        cells._installed_packages.cache_clear()


def test_coreml_assay_itself_is_part_of_what_a_cell_stems_from(tmp_path, monkeypatch):
    """The suite, its goldens and the reference are all under the package's folder."""
    (tmp_path / "coreml_assay").mkdir()
    (tmp_path / "coreml_assay" / "__init__.py").touch()
    monkeypatch.setattr(cells, "find_spec", partial(PathFinder.find_spec, path=[str(tmp_path)]))
    cell = attrs.evolve(CELL, implementation="json:tool")
    before = stems_from(cell)
    cells._checksum_of_package.cache_clear()
    try:
        after = stems_from(cell)
    finally:
        cells._checksum_of_package.cache_clear()
    assert "coreml-assay" in changed(before, after)


def changed(before, after):
    return [key for key in before if before[key] != after[key]]


def test_files_of_implementations_with_like_names_are_apart(tmp_path):
    one, two = (attrs.evolve(CELL, implementation=name) for name in ("a:b", "a-b"))
    assert path_of(one, tmp_path) != path_of(two, tmp_path)


def test_a_line_that_a_killed_process_left_unfinished_is_no_result(tmp_path):
    from coreml_assay.conformance.traces import read_results

    path = tmp_path / "results.jsonl"
    append_result(path, msgspec.json.encode(CHECK).decode())
    with path.open("ab") as file:
        file.write(b'{"check":"half')
    assert read_results(path) == [CHECK]
