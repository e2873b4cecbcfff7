"""``coreml-assay accuracy`` on a model and data of the user's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from coreml_assay.cli import main
from coreml_assay.mil.program import save_package
from coreml_assay.mil.samples import single
from coreml_assay.records import read_record

pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(0)


def run(*arguments):
    return CliRunner().invoke(
        main, ["accuracy", *map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"}
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A package, the name of its input, and samples that fit."""
    folder = tmp_path_factory.mktemp("own")
    model = single(RNG.standard_normal((32, 32)).astype(np.float32), "linear")
    save_package(model, folder / "mine.mlpackage")
    (feature,) = model.get_spec().description.input
    shape = (5, *feature.type.multiArrayType.shape)
    return folder / "mine.mlpackage", feature.name, RNG.standard_normal(shape).astype(np.float32)


def test_a_model_of_ones_own(own, tmp_path):
    package, name, samples = own
    np.savez(tmp_path / "data.npz", **{name: samples})
    result = run(package, "--data", tmp_path / "data.npz", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for line in result.stdout.splitlines():
        assert len(line) <= 80 or line.startswith("report:"), line
    assert "Outputs of mine (5 samples of data.npz, which also calibrate)" in " ".join(
        result.stdout.split()
    )
    record = read_record(tmp_path / "out/record.json")
    assert {each.configuration for each in record.accuracy} >= {"W8A8", "int4 per channel"}
    assert {each.implementation for each in record.accuracy} >= {"reference", "coremltools"}
    assert record.sensitivities
    assert "Sensitivity, worst first" in (tmp_path / "out/index.html").read_text()


def test_safetensors_calibration_and_a_baseline(own, tmp_path):
    package, name, samples = own
    save_file({name: samples}, tmp_path / "data.safetensors")
    save_file({name: samples * 2}, tmp_path / "others.safetensors")
    arguments = (
        *(package, "--data", tmp_path / "data.safetensors", "-i", "reference"),
        *("--calibration", tmp_path / "others.safetensors", "--no-sensitivity", "--json"),
    )
    first = run(*arguments, "-o", tmp_path / "first")
    assert json.loads(first.stdout)["status"] == "pass"
    record = tmp_path / "first/record.json"
    assert "calibrated with others.safetensors" in record.read_text()
    again = run(*arguments, "-b", record, "-o", tmp_path / "again")
    assert (again.exit_code, json.loads(again.stdout)["notes"]) == (0, [])
    text = json.loads(record.read_text())
    for each in text["accuracy"]:
        for output in each["outputs"]:
            output["snr_db"] = None if output["snr_db"] is None else output["snr_db"] + 3
    record.write_text(json.dumps(text))
    worse = run(*arguments, "-b", record, "-o", tmp_path / "worse")
    assert worse.exit_code == 1
    assert "fell" in json.loads(worse.stdout)["reasons"][0]


def expect_one_line(result, *parts):
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert str(part) in line


BAD = {
    "a name that is none": (lambda name, x: {"other": x}, "no array is named"),
    "a name too many": (lambda name, x: {name: x, "more": x}, "no input 'more'"),
    "no samples": (lambda name, x: {name: x[:0]}, "at least one"),
    "no leading axis": (lambda name, x: {name: x[0]}, "leading axis"),
    "integers": (lambda name, x: {name: x.astype(np.int32)}, "floating-point"),
    "NaN": (lambda name, x: {name: x * np.nan}, "NaN"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_data_that_does_not_fit(own, tmp_path, change, message):
    package, name, samples = own
    file = tmp_path / "data.npz"
    np.savez(file, **change(name, samples))
    expect_one_line(run(package, "--data", file, "-o", tmp_path / "out"), file, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data.npz", None),
        ("data.npz", b"PK"),
        ("data.npz", b""),
        ("data.safetensors", b"{"),
        ("data.csv", b"1,2"),
    ],
)
def test_data_that_cannot_be_read(own, tmp_path, file, content):
    if content is not None:
        (tmp_path / file).write_bytes(content)
    expect_one_line(run(own[0], "--data", tmp_path / file), tmp_path / file)


def test_a_pickle_is_not_opened(own, tmp_path):
    np.savez(tmp_path / "data.npz", **{own[1]: np.array([object()])})
    expect_one_line(run(own[0], "--data", tmp_path / "data.npz"), "cannot be read")


def test_options_that_do_not_go_together(own, tmp_path):
    expect_one_line(run("--data", tmp_path / "data.npz"), "MODEL")
    expect_one_line(run(own[0]), "--data")
    expect_one_line(run(tmp_path / "no.mlpackage", "--data", tmp_path / "data.npz"), "no such")
