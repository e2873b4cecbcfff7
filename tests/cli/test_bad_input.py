"""Bad input ends with exit code 2, one line that says what is wrong, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from click.testing import CliRunner

from coreml_assay.cli import main
from coreml_assay.mil.program import save_package
from coreml_assay.mil.samples import single
from coreml_assay.records import Record, read_record, record_schema, write_record

TESTS = Path(__file__).parents[1]
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def expect_one_line(result, *parts):
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert str(part) in lines[0]


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "model.mlpackage"
    save_package(single(np.arange(64, dtype=np.float32).reshape(8, 8)), path)
    return path


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "record.json"
    environment = {"python": "3", "platform": "p", "machine": "m", "cpu_count": 1, "packages": {}}
    made = {"tool_version": "0", "created": "now", "seed": 0, "profile": "quick"}
    path.write_text(json.dumps({"schema_version": 1, **made, "environment": environment}))
    return path


def test_a_model_that_does_not_exist(tmp_path):
    missing = tmp_path / "none.mlpackage"
    expect_one_line(run("run", "-m", missing, "-o", tmp_path / "out"), missing, "no such package")
    assert not (tmp_path / "out").exists()


def test_a_package_without_its_weight_file(tmp_path, package):
    (package / WEIGHTS).unlink()
    expect_one_line(run("run", "-m", package, "-o", tmp_path / "out"), package, "weights")


def test_a_truncated_weight_file(tmp_path, package):
    with (package / WEIGHTS).open("r+b") as file:
        file.truncate(200)
    expect_one_line(run("run", "-m", package, "-o", tmp_path / "out"), package, "weights")


def test_a_damaged_specification(tmp_path, package):
    specification = package / "Data/com.apple.CoreML/model.mlmodel"
    specification.write_bytes(specification.read_bytes()[:50])
    expect_one_line(run("run", "-m", package, "-o", tmp_path / "out"), package)


def test_a_neural_network_model(tmp_path):
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    )
    builder.add_activation("relu", "RELU", "x", "y")
    path = tmp_path / "old.mlmodel"
    ct.models.MLModel(builder.spec, skip_model_load=True).save(str(path))
    expect_one_line(run("run", "-m", path, "-o", tmp_path / "out"), path, ".mlpackage")


def test_a_package_that_holds_a_neural_network(tmp_path, package):
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    )
    builder.add_activation("relu", "RELU", "x", "y")
    specification = package / "Data/com.apple.CoreML/model.mlmodel"
    specification.write_bytes(builder.spec.SerializeToString())
    expect_one_line(run("run", "-m", package), package, "neuralNetwork", "mlprogram")


def test_a_model_with_several_functions(tmp_path, package):
    several = tmp_path / "several.mlpackage"
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name in ("first", "second"):
        descriptor.add_function(str(package), "main", name)
    descriptor.default_function_name = "first"
    # Its programs have to load to be merged, which coremltools does on Linux too.
    ct.utils.save_multifunction(descriptor, str(several))
    expect_one_line(run("run", "-m", several), several, "multifunction", "first, second")


def test_an_implementation_that_does_not_exist(tmp_path):
    expect_one_line(
        run("run", "-i", "referense", "-o", tmp_path / "out"), "referense", "did you mean"
    )


def test_an_implementation_that_does_not_import(tmp_path):
    expect_one_line(run("run", "-i", "no.such:Thing", "-o", tmp_path / "out"), "no.such:Thing")


def test_a_baseline_that_does_not_exist_is_told_before_the_run(tmp_path):
    missing = tmp_path / "baseline.json"
    expect_one_line(run("run", "-b", missing, "-o", tmp_path / "out"), missing)
    assert not (tmp_path / "out").exists()


def test_a_record_from_a_newer_schema(record):
    content = json.loads(record.read_text())
    newer = record.with_name("newer.json")
    newer.write_text(json.dumps({**content, "schema_version": 99}))
    expect_one_line(run("gate", record, newer), newer, "schema 99")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": "1"}', "\x00"])
def test_a_record_that_is_none(record, content):
    other = record.with_name("other.json")
    other.write_text(content)
    expect_one_line(run("gate", record, other), other)


def test_a_misspelt_key_in_a_record(record):
    content = json.loads(record.read_text())
    content["sede"] = content.pop("seed")
    record.write_text(json.dumps(content))
    expect_one_line(run("report", record), record, "sede")


def test_goldens_with_a_flipped_byte(tmp_path):
    from coreml_assay.goldens.store import data_folder

    folder = tmp_path / "goldens"
    shutil.copytree(data_folder() / "coremltools-9.0/weights", folder)
    file = folder / "arrays.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    expect_one_line(run("goldens", "verify", folder), file, "changed since it was made")


def test_a_full_disk_leaves_the_report_as_it_was(tmp_path, record, monkeypatch):
    out = tmp_path / "out"
    assert run("report", record, "-o", out).exit_code == 3
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    expect_one_line(run("report", record, "-o", out), "No space left on device")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_report_folder_that_is_a_file(tmp_path, record):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    expect_one_line(run("report", record, "-o", blocked), blocked)


def test_a_record_that_measured_nothing_has_its_own_exit_code(record, tmp_path):
    result = run("gate", record, record, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["status"] == "nothing measured"


def test_ctrl_c_ends_everything_and_writes_nothing(tmp_path):
    out = tmp_path / "out"
    arguments = ["run", "--cases", "0", "--no-shipped-models", "-o", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "coreml_assay", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        # Whoever runs the tests in the background may have them ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("logs/*.log")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip() == "interrupted; nothing was written"
    assert [path.name for path in out.iterdir()] == ["logs"]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no process of the group is left


def test_the_schema_describes_what_is_written(record, tmp_path):
    written = tmp_path / "again.json"
    write_record(read_record(record), written)
    names = set(json.loads(record_schema())["$defs"]["Record"]["properties"])
    assert set(json.loads(written.read_text())) == names
    assert isinstance(read_record(written), Record)
    assert json.loads(run("schema").stdout)["$defs"]
