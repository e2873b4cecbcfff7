"""``coreml-assay bench``: what it shows, what it writes, how it ends."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from coreml_assay.cli import main
from coreml_assay.gate.times import judge_times
from coreml_assay.terminal import show_times
from coreml_assay.timing.records import Workload, read_times, write_times
from coreml_assay.timing.session import Effort
from coreml_assay.timing.worker import WORKLOADS
from timing.synthetic import record, workload

COPYING = "timing.subjects:Copying"
SAME = f"{COPYING},{COPYING}"


def run(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture
def quick(monkeypatch):
    """So few pairs that no time can decide anything, and no test depends on one."""
    few = Effort(starts=1, pairs=2, sample_seconds=0.001)
    monkeypatch.setattr("coreml_assay.cli.bench.Effort", lambda **_: few)


def test_it_measures_shows_and_writes(quick, tmp_path):
    out = tmp_path / "out"
    result = run("--implementations", SAME, "-w", "round-int8-per-channel", "-o", out)
    assert result.exit_code == 0, result.output
    assert "round-int8-per-channel" in result.output
    assert result.output.strip().endswith("Pass: nothing speaks against this record")
    found = read_times(out / "times.json")
    assert [len(work.pairs) for work in found.workloads] == [2]


def test_a_figure_that_rose_is_a_regression(quick, tmp_path):
    names = "timing.subjects:Copying,timing.subjects:Wider"
    arguments = ("-w", "round-int8-per-channel", "-o", tmp_path, "--json")
    result = run("--implementations", names, *arguments)
    assert result.exit_code == 1
    (reason,) = json.loads(result.stdout)["reasons"]
    assert "bytes rose from 4194308" in reason


def test_nothing_measured_has_its_own_exit_code(quick, tmp_path):
    names = "timing.subjects:Failing,timing.subjects:Declining"
    result = run("--implementations", names, "-w", "round-int8-per-channel", "-o", tmp_path)
    assert result.exit_code == 3
    assert "Nothing measured" in result.output


def test_an_accepted_record_is_compared_with(quick, tmp_path):
    name = "round-int8-per-channel"
    write_times(record(workload(name="other")), tmp_path / "accepted.json")
    arguments = ("-w", name, "-o", tmp_path, "-b", tmp_path / "accepted.json", "--json")
    result = run("--implementations", SAME, *arguments)
    assert result.exit_code == 1
    assert "other" in json.loads(result.stdout)["reasons"][0]


def test_ctrl_c_keeps_what_was_measured(monkeypatch, tmp_path):
    found = record(workload(), Workload(name="later"), interrupted=True)
    monkeypatch.setattr("coreml_assay.cli.bench.compare", lambda *_, **__: found)
    result = run("--implementations", SAME, "-o", tmp_path)
    assert result.exit_code == 130
    assert read_times(tmp_path / "times.json") == found
    assert result.output.strip().endswith("Interrupted: what was measured until then is kept")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "two revisions"),
        (("HEAD",), "two revisions"),
        (("HEAD", "no-such-revision"), "no such revision"),
        (("HEAD", "HEAD", "--implementations", "reference,coremltools"), "takes the place"),
        (("--implementations", "reference"), "two names"),
        (("--implementations", "reference,"), "two names"),
        (("--implementations", f"no.such:Thing,{COPYING}"), "no.such:Thing"),
        (("--implementations", SAME, "-b", "missing.json"), "missing.json"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    result = run(*arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"time_schema_version": 99}',
        '{"time_schema_version": 1, "seed": "0"}',
        '{"schema_version": 2}',
    ],
)
def test_a_record_of_times_that_is_none(content, tmp_path):
    path = tmp_path / "times.json"
    path.write_text(content)
    result = run("--implementations", SAME, "-b", path)
    assert result.exit_code == 2
    assert str(path) in result.stderr


@pytest.mark.parametrize("change", [{"calls": 0}, {"before_cpu": 0}, {"after_cpu": "x"}])
def test_times_that_are_none(change, tmp_path):
    path = tmp_path / "times.json"
    write_times(record(workload()), path)
    content = json.loads(path.read_text())
    names = ("start", "before_first", "calls", "before_cpu", "after_cpu", "before_wall")
    for name, value in change.items():
        content["workloads"][0]["pairs"][0][names.index(name)] = value
    path.write_text(json.dumps(content))
    result = run("--implementations", SAME, "-b", path)
    assert result.exit_code == 2
    assert "pairs[0]" in result.stderr


def test_it_fits_80_columns_and_ends_with_the_verdict(tmp_path):
    longest = max(WORKLOADS, key=len)
    found = record(workload(0.0801, longest), Workload(name="none"))
    target = Console(file=io.StringIO(), width=80, highlight=False)
    show_times(target, found, judge_times(found), tmp_path / "times.json")
    lines = [line for line in target.file.getvalue().splitlines() if not line.startswith("record")]
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Pass: nothing speaks against this record"
    (row,) = [line for line in lines if line.startswith(f"{longest} ")]
    assert row.rstrip().endswith("faster")
    (row,) = [line for line in lines if line.startswith("none ")]
    assert row.split() == ["none", "not", "measured"]
