"""The record is the same however its cells came about; what could not be run has a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import attrs
import msgspec
import pytest

from coreml_assay.conformance.registry import check_count
from coreml_assay.gate import Kind, judge
from coreml_assay.implementations import environments
from coreml_assay.matrix import backends
from coreml_assay.matrix.backends import BackendError, in_parallel
from coreml_assay.matrix.cells import Cell, path_of, stems_from
from coreml_assay.matrix.run import Plan, known_names, run_matrix
from coreml_assay.matrix.worker import measure_cell

MODULE = """
import os, tempfile, time
from pathlib import Path
from coreml_assay.implementations import Unsupported

class Newer:
    name, version = "sample", "2"
    def quantize_weight(self, weight, spec):
        raise Unsupported("nothing at all")
    def gptq(self, weight, inputs, spec):
        raise Unsupported(f"{object()} in {tempfile.gettempdir()}/{os.getpid()}")

class Older(Newer):
    version = "1"
    def __init__(self):
        folder = Path(__file__).parent
        (folder / "older.pid").write_text(str(os.getpid()))
        while (folder / "hold").exists():
            time.sleep(0.05)

class EndsAtOnce(Newer):
    def __init__(self):
        os._exit(7)
"""
NAMES = ("matrix_samples:Newer", "matrix_samples:Older")


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "matrix_samples.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "overlays"))
    monkeypatch.syspath_prepend(tmp_path)


def plan(folder, **changes):
    made = Plan(
        implementations=NAMES,
        seed=3,
        profile="quick",
        folder=folder,
        areas=("gptq",),
        backend="threading",
        jobs=2,
    )
    return attrs.evolve(made, **changes)


def measured(made):
    """A record without the one thing that may differ, as bytes."""
    record = run_matrix(made, lambda stage, done, total: None)
    return msgspec.json.encode(msgspec.structs.replace(record, created=""))


def wait_until(holds):
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupted_resumed_and_on_a_cluster_the_record_is_the_same(tmp_path):
    pytest.importorskip("distributed")
    whole = measured(plan(tmp_path / "threads"))
    assert b"object at an address> in a temporary path" in whole
    assert measured(plan(tmp_path / "cluster", backend="dask")) == whole

    (tmp_path / "hold").touch()
    (tmp_path / "older.pid").unlink()
    folder = tmp_path / "interrupted"
    names = [part for name in NAMES for part in ("-i", name)]
    options = ["--area", "gptq", "--seed", "3", "--jobs", "2", "-o", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "coreml_assay", "matrix", *names, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = path_of(Cell(NAMES[0], "gptq", 3, "quick"), folder / "cells")
    wait_until(lambda: first.exists() and (tmp_path / "older.pid").exists())
    worker = int((tmp_path / "older.pid").read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 of 2 cells are kept" in said
    wait_until(lambda: not is_running(worker))
    assert not (folder / "record.json").exists()

    (tmp_path / "hold").unlink()
    kept = first.stat().st_mtime_ns
    assert measured(plan(folder, backend="loky")) == whole
    assert first.stat().st_mtime_ns == kept


@pytest.mark.slow
def test_over_a_cluster_the_record_of_real_implementations_is_the_same(tmp_path):
    pytest.importorskip("distributed")
    names, areas = ("reference", "coremltools"), ("activations", "gptq")
    made = plan(tmp_path / "one", implementations=names, areas=areas, backend="threading", jobs=1)
    whole = measured(made)
    cluster = attrs.evolve(made, folder=tmp_path / "cluster", backend="dask", jobs=2)
    assert measured(cluster) == whole
    assert whole.count(b'"outcome":"deviation"') > 10


def test_versions_of_one_implementation_stand_side_by_side_and_what_fails_has_a_name(tmp_path):
    names = (*NAMES, "matrix_samples:EndsAtOnce", "coremltools-8.0")
    record = run_matrix(plan(tmp_path, implementations=names), lambda *told: None)
    assert [(suite.implementation, suite.version) for suite in record.suites] == [
        ("sample", "2"),
        ("sample", "1"),
    ]
    assert {suite.checks_expected for suite in record.suites} == {check_count("gptq")}
    absent, failed = record.not_run
    assert absent.state == "not installed"
    assert absent.detail == "coreml-assay implementations install coremltools-8.0"
    assert (failed.state, failed.areas) == ("failed", ("gptq",))
    assert "exit code 7" in failed.detail
    assert str(tmp_path) not in failed.detail
    verdict = judge(record, None)
    kinds = [reason.kind for reason in verdict.reasons if "EndsAtOnce" in reason.subject]
    assert kinds == [Kind.NOT_RUN]
    assert [note.subject for note in verdict.notes] == ["coremltools-8.0"]


def test_a_worker_in_another_environment_measures_nothing():
    cell = Cell(NAMES[0], "gptq", 3, "quick")
    here = stems_from(cell)
    found = measure_cell((cell, {**here, "python": "2.7", "kernels": "abacus"}))
    assert found.suite is None
    assert found.problem == "the worker's environment is another: python, kernels"


def test_by_default_there_are_the_installed_ones_and_the_whole_catalogue():
    assert {"reference", "coremltools", "coremltools-8.0"} <= set(known_names())


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_backend_that_is_not_installed_is_one_line(monkeypatch, backend):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(backends.importlib, "import_module", absent)
    with pytest.raises(BackendError, match="pip install") as raised:
        list(in_parallel(abs, [1], backend=backend, jobs=1, scheduler=None))
    assert "\n" not in str(raised.value)


def test_a_scheduler_is_for_clusters():
    with pytest.raises(BackendError, match="loky has none"):
        list(in_parallel(abs, [1], backend="loky", jobs=1, scheduler="tcp://localhost:1"))
