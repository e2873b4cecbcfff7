"""The path to Core ML, as far as it goes without a Mac: coremltools' classes on a native fake."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from coremltools import proto
from fake_coreml import LOAD_NS, PREDICTION_NS, ModelProxy, on_a_mac, with_a_phone
from latency_factories import Clock

from coreml_assay.cli import main
from coreml_assay.latency import machine
from coreml_assay.latency.backends import UnavailableError
from coreml_assay.latency.collect import collect
from coreml_assay.latency.coreml import CoreMLBackend, _as_image
from coreml_assay.latency.ingest import ingest
from coreml_assay.latency.plan import package_path, read_samples
from coreml_assay.latency.session import SessionError
from coreml_assay.latency_records import DEVICE_UNITS
from coreml_assay.mil.images import ImageInput


@pytest.fixture
def a_mac(monkeypatch, tmp_path):
    with on_a_mac(monkeypatch, tmp_path):
        yield


@pytest.fixture
def a_phone(monkeypatch, tmp_path):
    with with_a_phone(monkeypatch, tmp_path) as phone:
        yield phone


@pytest.fixture
def place(prepared):
    return prepared / "cases/1"


def test_there_is_no_backend_off_a_mac():
    with pytest.raises(UnavailableError, match="needs a Mac"):
        CoreMLBackend()


def test_a_session_on_a_mac(prepared, a_mac, tmp_path):
    clock = Clock(1000)

    def told(done, total):
        """Time passes in the pretended world, in which Core ML's own clock runs."""

    class Watched(CoreMLBackend):
        def load(self, package, compute_units):
            loaded = super().load(package, compute_units)
            predict = loaded.predict

            def predicted(inputs):
                clock.now += 10 * PREDICTION_NS
                return predict(inputs)

            clock.now += 2 * LOAD_NS
            loaded.predict = predicted
            return loaded

    collect(prepared, tmp_path / "out", Watched(), told, clock.watch())
    session, results = ingest(prepared, tmp_path / "out")
    assert session.device.name == "Test9,9"
    assert (session.device.os_version, session.device.os_build) == ("15.1", "24B83")
    assert session.device.xcode == "Xcode 16.1 Build version 16B40"
    assert session.device.processors == ("cpu", "gpu", "neural engine")
    assert session.device.thermal_before == session.device.thermal_after == "moderate"
    assert [each.run.compute_units for each in results] == [*DEVICE_UNITS, *DEVICE_UNITS]
    for result in results:
        assert result.run.load_ns == LOAD_NS
        assert min(result.run.samples_ns) > PREDICTION_NS
        (error,) = result.float32
        assert error.snr_db is None or error.snr_db > 100
        there = {each.preferred for each in result.run.placement.operations}
        assert there == {"cpu" if result.run.compute_units == "CPU_ONLY" else "neural engine"}


def test_the_plan_is_of_the_compute_units_that_predict(a_mac, place):
    backend = CoreMLBackend()
    for units in DEVICE_UNITS:
        ModelProxy.asked = []
        loaded = backend.load(package_path(place), units)
        assert loaded.placement().compute_units == units
        assert ModelProxy.asked == [("model", units), ("plan", units)]
        loaded.close()


def test_inputs_are_left_as_they_are(a_mac, place):
    inputs = {
        name: value.astype(np.float16)
        for name, value in read_samples(place / "inputs.safetensors")[0].items()
    }
    loaded = CoreMLBackend().load(package_path(place), "ALL")
    outputs, duration = loaded.predict(inputs)
    assert {value.dtype.name for value in inputs.values()} == {"float16"}
    assert duration == PREDICTION_NS + 1
    assert outputs["w_out"].shape == read_samples(place / "float32.safetensors")[0]["w_out"].shape


def test_why_core_ml_refuses_a_model_is_told(a_mac, place, monkeypatch):
    def refuse(self, *_):
        raise RuntimeError("compiler error: no such operation")

    monkeypatch.setattr(ModelProxy, "__init__", refuse)
    with pytest.raises(SessionError, match=r"1, ALL: Failed to load model.*no such operation"):
        CoreMLBackend().load(package_path(place), "ALL")


def test_a_prediction_that_fails_names_the_case(a_mac, place, monkeypatch):
    def refuse(self, *_):
        raise RuntimeError("out of\nmemory")

    loaded = CoreMLBackend().load(package_path(place), "CPU_AND_NE")
    monkeypatch.setattr(ModelProxy, "predict", refuse)
    with pytest.raises(SessionError, match=r"^1, CPU_AND_NE: out of memory$"):
        loaded.predict({"w_in": np.zeros((2, 64), np.float32)})


def test_a_duration_that_core_ml_does_not_tell_is_an_error(a_mac, place, monkeypatch):
    loaded = CoreMLBackend().load(package_path(place), "ALL")
    for value in (None, 0, -1):
        monkeypatch.setattr(
            ModelProxy, "get_last_predict_duration_in_nano_seconds", lambda self, v=value: v
        )
        with pytest.raises(SessionError, match=f"a duration of {value} ns"):
            loaded.predict({"w_in": np.zeros((2, 64), np.float32)})


def test_a_connected_phone_predicts(a_phone, place):
    backend = CoreMLBackend("iphone", team="TEAM")
    device = backend.device(None)
    assert (device.kind, device.name) == ("iphone", "Test phone")
    assert (device.os_version, device.os_build) == ("18.1", "22B1")
    assert (device.processors, device.thermal_before) == ((), "unknown")
    loaded = backend.load(package_path(place), "CPU_AND_NE")
    assert loaded.load_ns == LOAD_NS
    (sample, *_), (expected, *_) = (
        read_samples(place / f"{name}.safetensors") for name in ("inputs", "float32")
    )
    outputs, duration = loaded.predict(sample)
    np.testing.assert_allclose(outputs["w_out"], expected["w_out"], rtol=1e-3, atol=1e-3)
    assert duration == PREDICTION_NS + 1
    placement = loaded.placement()
    assert {each.preferred for each in placement.operations} == {"neural engine"}
    loaded.close()
    units = "CPU_AND_NE"
    # The request for the plan names no compute units; which it is of is the app's to say.
    assert a_phone.methods == [
        *(("Load", units), ("Prediction", units), ("ComputePlan", None), ("Unload", units))
    ]


def test_a_device_that_is_not_connected(prepared, a_phone, tmp_path):
    arguments = ["latency", "collect", prepared, tmp_path / "out", "--device", "ipad"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 4
    assert "no device: 0 devices of kind ipad are connected, not one" in result.stderr


def test_xcodes_tools_that_fail_are_told_in_one_line(a_mac, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match="the iphone cannot be used: The 'devicectl'"):
        CoreMLBackend("iphone")


def test_what_a_mac_does_not_say_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {machine.mac_model(), machine.xcode_version(), machine.mac_thermal()} == {"unknown"}


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("com.apple.system.thermalpressurelevel 0", "nominal"),
        ("com.apple.system.thermalpressurelevel 2", "heavy"),
        ("com.apple.system.thermalpressurelevel 7", "unknown"),
        ("no such notification", "unknown"),
    ],
)
def test_thermal_levels(monkeypatch, words, state):
    monkeypatch.setattr(machine, "said", lambda *command: words)
    assert machine.mac_thermal() == state


@pytest.mark.parametrize("space", ["RGB", "BGR", "GRAYSCALE", "GRAYSCALE_FLOAT16"])
def test_pixels_become_the_image_that_stands_for_them(space):
    kind = proto.FeatureTypes_pb2.ImageFeatureType()
    kind.colorSpace = kind.ColorSpace.Value(space)
    channels = 1 if "GRAYSCALE" in space else 3
    value = np.arange(channels * 2 * 5, dtype=np.float32).reshape(1, channels, 2, 5)
    image = _as_image(value, kind)
    assert image.size == (5, 2)
    np.testing.assert_array_equal(ImageInput("image", space).array(image), value)
