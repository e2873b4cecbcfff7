"""Finding implementations by name or by module and object."""

from __future__ import annotations

import pytest

from coreml_assay.implementations import (
    Face,
    ImplementationError,
    available,
    faces,
    load_implementation,
)

MODULE = """
class Both:
    name, version, optimize = "both", "1", None
    def quantize_weight(self, weight, spec): ...

class Tensor:
    name, version = "tensor", "1"
    def quantize_weight(self, weight, spec): ...

class Nested:
    inner = Tensor()

class NoFaces:
    name, version = "none", "1"

class NoVersion:
    name = "x"
    def quantize_weight(self, weight, spec): ...

class NeedsArguments(Tensor):
    def __init__(self, needed): ...

class Fails(Tensor):
    def __init__(self):
        raise RuntimeError("first line\\nsecond line")

instance = Both()
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "sample_implementations.py").write_text(MODULE)
    (tmp_path / "does_not_import.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)


def refused(name):
    with pytest.raises(ImplementationError) as raised:
        load_implementation(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_both_own_implementations_are_installed():
    assert {"reference", "coremltools"} <= available().keys()


@pytest.mark.parametrize("name", ["reference", "coremltools"])
def test_an_installed_implementation_loads_by_name_and_has_both_faces(name):
    implementation = load_implementation(name)
    assert implementation.name == name
    assert implementation.version
    assert faces(implementation) == {Face.TENSOR, Face.COREML}


@pytest.mark.parametrize("attribute", ["Both", "instance"])
def test_a_class_and_an_instance_both_load(attribute):
    found = load_implementation(f"sample_implementations:{attribute}")
    assert (found.name, faces(found)) == ("both", {Face.TENSOR, Face.COREML})


def test_an_attribute_of_an_object_loads():
    found = load_implementation("sample_implementations:Nested.inner")
    assert (found.name, faces(found)) == ("tensor", {Face.TENSOR})


def test_an_unknown_name_brings_the_nearest_and_all_that_are_installed():
    message = refused("referense")
    assert message.startswith("no implementation 'referense' (did you mean 'reference'?)")
    assert "coremltools" in message
    assert "did you mean" not in refused("zzz")


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("Missing", "cannot be loaded: AttributeError"),
        ("NeedsArguments", "cannot be loaded: TypeError"),
        ("Fails", "cannot be loaded: RuntimeError: first line second line"),
        ("NoFaces", "it needs a method quantize_weight(weight, spec), or an attribute optimize"),
        ("NoVersion", "it needs the attributes name and version"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(attribute, says):
    name = f"sample_implementations:{attribute}"
    assert refused(name).startswith(f"{name}: {says}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("does_not_import:Thing", "No module named 'no_such_module_at_all'"),
        ("not_there:Thing", "No module named 'not_there'"),
    ],
)
def test_a_module_that_does_not_import_is_refused_with_the_cause(name, says):
    assert says in refused(name)
