"""Packages on disk: damaged ones are named in one line, and writing is whole or not at all."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

from coreml_assay.mil.describe import describe
from coreml_assay.mil.program import (
    IOS18,
    PackageError,
    build_model,
    load_program,
    open_package,
    retarget,
    save_package,
    target_name,
)
from coreml_assay.mil.samples import single
from coreml_assay.mil.stored import stored_weights

W = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    path = tmp_path_factory.mktemp("intact") / "model.mlpackage"
    save_package(single(W), path)
    return path


@pytest.fixture
def package(intact, tmp_path):
    return Path(shutil.copytree(intact, tmp_path / "copy.mlpackage"))


def cut(file, length):
    return lambda package: (package / file).write_bytes((package / file).read_bytes()[:length])


def flip(file, index):
    def damage(package):
        content = bytearray((package / file).read_bytes())
        content[index] ^= 0xFF
        (package / file).write_bytes(content)

    return damage


def remove(file):
    return lambda package: (package / file).unlink()


DAMAGE = {
    "no manifest": (remove("Manifest.json"), "Manifest.json"),
    "half a manifest": (cut("Manifest.json", 30), "not a readable package"),
    "no specification": (remove(SPECIFICATION), "not a readable package"),
    "half a specification": (cut(SPECIFICATION, 200), "not a readable package"),
    "an empty specification": (cut(SPECIFICATION, 0), "model.mlmodel is empty or damaged"),
    "no weights": (remove(WEIGHTS), "weight.bin"),
    "half the weights": (cut(WEIGHTS, 300), "weight.bin"),
    "empty weights": (cut(WEIGHTS, 0), "weight.bin"),
    "the weights' version changed": (flip(WEIGHTS, 4), "weight.bin"),
    "a weight's header changed": (flip(WEIGHTS, 64), "weight.bin"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_package_is_one_line_that_names_it(package, what):
    damage, says = DAMAGE[what]
    damage(package)
    with pytest.raises(PackageError, match=says) as raised:
        load_program(open_package(package))
    assert str(raised.value).startswith(f"{package}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("file", [SPECIFICATION, WEIGHTS])
def test_wherever_a_byte_is_changed_nothing_but_a_package_error_is_raised(package, file):
    content = (package / file).read_bytes()
    for index in range(0, min(len(content), 512), 11):
        (package / file).write_bytes(
            content[:index] + bytes([content[index] ^ 0xFF]) + content[index + 1 :]
        )
        with suppress(PackageError):  # the values of weights may change unnoticed
            load_program(open_package(package))


def test_a_path_without_a_package_is_named(tmp_path):
    with pytest.raises(PackageError, match=r"nothing\.mlpackage: no such package$"):
        open_package(tmp_path / "nothing.mlpackage")


def test_a_file_is_not_a_package(tmp_path):
    file = tmp_path / "model.mlmodel"
    file.write_bytes(b"")
    with pytest.raises(PackageError, match=r"model\.mlmodel: not an \.mlpackage folder"):
        open_package(file)


def test_an_empty_folder_is_not_a_package(tmp_path):
    with pytest.raises(PackageError, match="not a readable package"):
        open_package(tmp_path)


@pytest.fixture
def neural_network():
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(3))], [("y", None)], disable_rank5_shape_mapping=True
    )
    builder.add_activation("relu", "RELU", "x", "y")
    return ct.models.MLModel(builder.spec, skip_model_load=True)


def test_a_neural_network_is_refused_with_advice(neural_network):
    with pytest.raises(TypeError, match=r"type neuralNetwork.*convert_to='mlprogram'") as raised:
        load_program(neural_network)
    assert "\n" not in str(raised.value)


def test_a_packaged_neural_network_is_refused_by_its_path(neural_network, tmp_path):
    path = tmp_path / "old.mlpackage"
    neural_network.save(str(path))
    with pytest.raises(PackageError, match=r"old\.mlpackage: the model is of type neuralNetwork"):
        open_package(path)


def test_several_functions_are_refused_by_name(intact, tmp_path):
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name in ("first", "second"):
        descriptor.add_function(str(intact), "main", name)
    descriptor.default_function_name = "first"
    path = tmp_path / "two.mlpackage"
    ct.utils.save_multifunction(descriptor, str(path))
    message = "is not supported for a multifunction model; it has first, second"
    with pytest.raises(ValueError, match=message) as raised:
        load_program(open_package(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("model", [None, "model.mlpackage", 5])
def test_what_is_no_model_is_a_type_error(model):
    with pytest.raises(TypeError, match=f"MLModel, got {type(model).__name__}$"):
        load_program(model)


def test_a_saved_package_holds_the_same_program(intact):
    program = load_program(open_package(intact))
    assert describe(program) == describe(load_program(single(W)))
    np.testing.assert_array_equal(stored_weights(program)["w"].values, W)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_saving_that_fails_midway_leaves_the_old_package(package, monkeypatch, error):
    model = single(2 * W)

    def half(path):
        (Path(path) / "Manifest.json").write_text("half")
        raise error

    monkeypatch.setattr(model, "save", half)
    with pytest.raises(type(error)):
        save_package(model, package)
    assert [path.name for path in package.parent.iterdir()] == ["copy.mlpackage"]
    np.testing.assert_array_equal(weights_of(package), W)


def test_saving_replaces_an_older_package(package):
    save_package(single(2 * W), package)
    assert [path.name for path in package.parent.iterdir()] == ["copy.mlpackage"]
    np.testing.assert_array_equal(weights_of(package), 2 * W)


def weights_of(package):
    return stored_weights(load_program(open_package(package)))["w"].values


def test_a_package_is_saved_only_under_its_own_kind_of_name(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.mlpackage, got model\.mlmodel$"):
        save_package(single(W), tmp_path / "model.mlmodel")
    assert list(tmp_path.iterdir()) == []


def test_retargeting_raises_the_version_and_keeps_the_numbers():
    old = single(W, target="iOS16")
    before = old.get_spec().SerializeToString()
    new = retarget(old, IOS18)
    assert new.get_spec().specificationVersion == IOS18
    assert old.get_spec().SerializeToString() == before
    np.testing.assert_array_equal(stored_weights(load_program(new))["w"].values, W)


def test_retargeting_to_an_older_version_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^the model is for iOS18, newer than iOS16$"):
        retarget(single(W), 7)


def test_targets_have_names():
    assert [target_name(version) for version in (6, 7, 8, 9, 42)] == [
        *("iOS15", "iOS16", "iOS17", "iOS18"),
        "specification 42",
    ]


def test_a_loaded_program_is_not_shared_with_its_model():
    model = single(W)
    program = load_program(model)
    program.functions["main"].find_ops(op_type="linear")[0].name = "renamed"
    assert describe(load_program(model)) == describe(load_program(single(W)))
    assert build_model(program, like=model).get_spec() != model.get_spec()
