"""Prepare, collect, ingest: the files, the figures, and what is said where nothing was measured."""

from __future__ import annotations

import re
import shutil

import coremltools as ct
import numpy as np
import pytest
from click.testing import CliRunner
from latency_factories import Clock, PretendedMac, collected

from coreml_assay.cli import main
from coreml_assay.latency.backends import EvaluatorBackend
from coreml_assay.latency.collect import collect
from coreml_assay.latency.ingest import ingest
from coreml_assay.latency.plan import PlanError, read_plan, read_samples, write_samples
from coreml_assay.latency.prepare import INPUTS, Wanted, prepare, seeded_inputs
from coreml_assay.latency.protocol import (
    LEAST_SAMPLES,
    LEAST_WARM_UP,
    is_neural_engine,
    neural_engine_shares,
    settled,
)
from coreml_assay.latency.session import SessionError, read_session
from coreml_assay.latency_records import PlacedOperation, Placement
from coreml_assay.mil.program import PackageError


def run(*arguments):
    return CliRunner().invoke(main, ["latency", *map(str, arguments)])


def nothing(done, total):
    """Nobody is told of progress."""


def test_a_prepared_folder_is_what_its_plan_says(prepared):
    plan, _ = read_plan(prepared)
    assert [case.configuration for case in plan.cases] == ["as it is", "int8 per channel"]
    assert plan.rounds * plan.samples_per_round >= LEAST_SAMPLES
    inputs = read_samples(prepared / "cases/0/inputs.safetensors")
    assert len(inputs) == INPUTS
    wide = read_samples(prepared / "cases/0/float64.safetensors")
    narrow = read_samples(prepared / "cases/0/float32.safetensors")
    assert wide[0]["w_out"].dtype == np.float64
    for a, b in zip(wide, narrow, strict=True):
        np.testing.assert_allclose(a["w_out"], b["w_out"], rtol=1e-4, atol=1e-4)


def test_the_same_seed_draws_the_same_inputs(prepared, tmp_path):
    wanted = Wanted({"small": prepared / "cases/0/package.mlpackage"}, ("as it is",), seed=1)
    again = prepare(wanted, tmp_path / "again", nothing)
    other = prepare(Wanted(wanted.models, ("as it is",), seed=2), tmp_path / "other", nothing)
    plan, _ = read_plan(prepared)
    assert again.cases[0].inputs_sha256 == plan.cases[0].inputs_sha256
    assert other.cases[0].inputs_sha256 != plan.cases[0].inputs_sha256


@pytest.mark.parametrize(
    "file", ["plan.json", "cases/1/inputs.safetensors", "sentinel/float64.safetensors"]
)
def test_a_prepared_folder_that_was_damaged_on_the_way(prepared, tmp_path, file):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    (folder / file).write_bytes((folder / file).read_bytes()[:-3])
    with pytest.raises(PlanError, match=re.escape(file)):
        read_plan(folder)
    (folder / file).unlink()
    with pytest.raises(PlanError, match=re.escape(file)):
        read_plan(folder)


def test_a_package_that_was_changed_on_the_way(prepared, tmp_path):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    next(folder.glob("cases/0/package.mlpackage/**/weight.bin")).write_bytes(b"other")
    with pytest.raises(PlanError, match="not the package of the plan"):
        collect(folder, tmp_path / "out", EvaluatorBackend(), nothing)
    assert not (tmp_path / "out").exists()


def test_samples_read_back(tmp_path):
    samples = [{"x": np.float32(3), "y/z": np.zeros((0, 2))}, {"x": np.float32(4)}]
    write_samples(samples, tmp_path / "samples.safetensors")
    first, second = read_samples(tmp_path / "samples.safetensors")
    assert (first["x"], second["x"], first["y/z"].shape) == (3, 4, (0, 2))
    for content in (b"", b"\xff" * 100):
        (tmp_path / "samples.safetensors").write_bytes(content)
        with pytest.raises(PlanError, match="cannot be read"):
            read_samples(tmp_path / "samples.safetensors")


def test_images_and_integers_are_drawn(tmp_path):
    spec = ct.proto.Model_pb2.Model()
    description = spec.description
    image = description.input.add(name="image").type.imageType
    image.width, image.height = 5, 4
    image.colorSpace = image.ColorSpace.Value("RGB")
    ids = description.input.add(name="ids").type.multiArrayType
    ids.shape.extend([2, 3])
    ids.dataType = ids.ArrayDataType.Value("INT32")

    class Described:
        def get_spec(self):
            return spec

    (sample, *_) = seeded_inputs(Described(), seed=0)
    assert sample["image"].shape == (1, 3, 4, 5)
    assert sample["image"].min() >= 0
    assert sample["image"].max() <= 255
    assert sample["ids"].dtype == np.int32
    description.input.add(name="word").type.stringType.SetInParent()
    with pytest.raises(ValueError, match="'word' is neither an array of known shape nor an image"):
        seeded_inputs(Described(), seed=0)
    description.state.add(name="cache")
    with pytest.raises(ValueError, match="'cache' would change"):
        seeded_inputs(Described(), seed=0)


def test_a_warm_up_has_settled_when_its_median_stands_still():
    assert not settled([100] * (LEAST_WARM_UP - 1))
    assert settled([100] * LEAST_WARM_UP)
    assert settled([1000] * 10 + [1019] * 10)
    assert not settled([1000] * 10 + [1021] * 10)
    assert not settled([1000] * 10 + [979] * 10)
    assert settled([900] * 30 + [100] * 20)
    assert settled([100] * 19 + [10_000])  # a median knows no outliers


def test_a_warm_up_that_never_rests_is_an_error(prepared, tmp_path):
    class Restless(Clock):
        def __call__(self):
            self.now = round(self.now * 1.01) + 10
            return self.now

    clock = Restless()
    with pytest.raises(SessionError, match="sentinel, evaluator: the median of 400"):
        collect(prepared, tmp_path / "out", EvaluatorBackend(clock), nothing, clock.watch())
    assert not (tmp_path / "out").exists()


def placement(*pairs):
    operations = tuple(
        PlacedOperation(operator="op", preferred=preferred, cost=cost) for preferred, cost in pairs
    )
    return Placement(compute_units="ALL", operations=operations)


def test_the_neural_engines_share_by_count_and_by_cost():
    mixed = placement(("neural engine", 0.75), ("cpu", 0.25), ("cpu", None), ("cpu", None))
    assert neural_engine_shares(mixed) == (0.25, 0.75)
    assert not is_neural_engine(mixed)
    assert is_neural_engine(placement(("neural engine", 0.9), ("gpu", 0.1)))
    assert not is_neural_engine(placement(("neural engine", 0.89), ("gpu", 0.11)))
    assert neural_engine_shares(placement(("neural engine", None))) == (1.0, None)
    assert not is_neural_engine(placement(("neural engine", None)))
    assert neural_engine_shares(placement()) == (None, None)
    assert not is_neural_engine(None)


def test_another_coremltools_does_not_collect(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("coreml_assay.latency.collect.version", lambda name: "9.1")
    with pytest.raises(SessionError, match=r"prepared with coremltools 9\.0, and 9\.1"):
        collect(prepared, tmp_path / "out", EvaluatorBackend(), nothing)


def test_every_sample_is_kept_and_compared(prepared, evaluated):
    written = read_session(evaluated)
    session, results = ingest(prepared, evaluated)
    assert session == written
    assert [result.run for result in results] == list(written.runs)
    for result in results:
        assert len(result.run.samples_ns) == 240
        assert len(result.run.warm_up_ns) >= LEAST_WARM_UP
        assert result.run.placement is None
        (narrow,) = result.float32
        (wide,) = result.float64
        assert narrow.largest == 0
        assert wide.snr_db > 100  # float32 against float64


def test_a_session_of_one_plan_is_refused_by_another(prepared, evaluated, tmp_path):
    wanted = Wanted({"small": prepared / "cases/0/package.mlpackage"}, ("as it is",), seed=1)
    prepare(wanted, tmp_path / "other", nothing)
    with pytest.raises(SessionError, match="plan_sha256"):
        ingest(tmp_path / "other", evaluated)


def test_off_a_mac_collect_says_in_one_line_what_it_needs(prepared, tmp_path):
    result = run("collect", prepared, tmp_path / "out")
    assert result.exit_code == 4
    assert len(result.stderr.strip().splitlines()) == 1
    for part in ("no device", "macOS", "coremltools 9.0", "--backend evaluator"):
        assert part in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_evaluators_figures_never_stand_under_a_device(prepared, evaluated, tmp_path):
    result = run("ingest", prepared, evaluated, "-o", tmp_path / "report")
    assert result.exit_code == 0, result.output
    for text in (result.output, (tmp_path / "report/summary.md").read_text()):
        device, _, evaluator = text.replace("\n", " ").partition("evaluator")
        assert "Devices: not measured" in device
        assert not re.search(r"\d\.\d{3}", device)
        assert re.search(r"1\.0\d\d|0\.9\d\d", evaluator)
    page = (tmp_path / "report/index.html").read_text()
    section = re.search(r'<section id="latency">.*?</section>', page, re.S)[0]
    device, evaluator = section.split("<h3>Evaluator")
    assert not re.search(r"\d", re.sub(r"<[^>]*>|int8|p\d\d", "", device))
    assert device.count("not measured") == 1 + 6 * 7
    assert "figures of no device" in evaluator


def test_a_device_has_a_table_of_its_own(prepared, on_a_mac, tmp_path):
    result = run("ingest", prepared, on_a_mac, "-o", tmp_path / "report")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report/index.html").read_text()
    section = re.search(r'<section id="latency">.*?</section>', page, re.S)[0]
    assert "Test1,1, mac, 15.0 (24A1)" in section
    assert section.count("94 % of estimated cost on the Neural Engine") == 4
    assert "Neural Engine: 67 % of operations" in section
    assert section.count("not Neural Engine: 0 % of operations, 0 %") == 2
    assert "not measured" not in section
    assert "evaluator" not in section


def test_a_wrong_answer_on_one_unit_is_a_regression(prepared, tmp_path):
    class Wrong(PretendedMac):
        def load(self, package, compute_units):
            loaded = super().load(package, compute_units)
            right = loaded.predict

            def predict(inputs):
                outputs, duration = right(inputs)
                return {name: -value for name, value in outputs.items()}, duration

            if compute_units == "CPU_AND_NE":
                loaded.predict = predict
            return loaded

    collected(prepared, tmp_path / "collected", Wrong)
    result = run("ingest", prepared, tmp_path / "collected", "-o", tmp_path / "report")
    assert result.exit_code == 1
    lines = " ".join(result.output.split())
    assert "Output w_out of small, as it is on Test1,1, CPU_AND_NE is wrong" in lines
    assert "cosine -1.0000" in lines
    assert "Regression: 2 reasons" in lines


def test_a_session_that_cannot_be_believed_is_refused_in_one_line(prepared, evaluated, tmp_path):
    shutil.copytree(evaluated, tmp_path / "collected")
    session = tmp_path / "collected/session.json"
    session.write_text(session.read_text().replace('"coremltools": "9.0"', '"coremltools": "8.3"'))
    result = run("ingest", prepared, tmp_path / "collected", "-o", tmp_path / "report")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "refused: coremltools is '8.3', and the plan was made with '9.0'" in line
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("name", ["prepared", "collected"])
def test_folders_that_are_not_there(prepared, tmp_path, name):
    folders = {"prepared": prepared, "collected": tmp_path / "none", name: tmp_path / "none"}
    result = run("ingest", folders["prepared"], folders["collected"], "-o", tmp_path / "report")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_models_that_cannot_be_prepared(tmp_path):
    missing = tmp_path / "none.mlpackage"
    result = run("prepare", tmp_path / "out", "-m", missing)
    assert result.exit_code == 2
    assert "no such package" in result.stderr
    result = run("prepare", tmp_path / "out", "-m", missing, "-m", tmp_path / "b/none.mlpackage")
    assert "two models have the same name" in result.stderr
    with pytest.raises(PackageError):
        prepare(Wanted({"none": missing}, ("as it is",), seed=0), tmp_path / "out", nothing)
    assert not (tmp_path / "out").exists()
