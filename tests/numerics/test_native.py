"""Which path the kernels take: the one that was compiled, unless another is asked for."""

from __future__ import annotations

import sysconfig
from ctypes import c_size_t, c_void_p
from pathlib import Path

import pytest

from coreml_assay.numerics import native

NAME = f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
BUILT = Path(native.__file__).with_name(NAME)
needs_kernels = pytest.mark.skipif(not BUILT.exists(), reason="nothing was compiled here")


@needs_kernels
def test_what_was_compiled_is_used(monkeypatch):
    # A library of older sources would let the tests of every kernel pass without running one.
    monkeypatch.delenv(native.VARIABLE, raising=False)
    assert native.active() in native.INSTRUCTION_SETS
    assert native.active() == native.available()[-1]
    assert native.kernel("gptq_round_columns") is not None


@needs_kernels
def test_a_path_that_is_asked_for_is_used(monkeypatch):
    for path in native.available():
        monkeypatch.setenv(native.VARIABLE, path)
        assert native.active() == path
    for path in set(native.INSTRUCTION_SETS) - set(native.available()):
        monkeypatch.setenv(native.VARIABLE, path)
        assert native.active().startswith(f"none: {native.VARIABLE}={path}, but this machine has ")
        assert native.kernel("gptq_round_columns") is None


@needs_kernels
def test_argument_types_are_those_of_one_caller(monkeypatch):
    # With another's, addresses could be cut to 32 bits and the kernel would end the process.
    monkeypatch.delenv(native.VARIABLE, raising=False)
    mine, another = (native.kernel("gptq_round_columns", kind) for kind in (c_void_p, c_size_t))
    assert (mine.argtypes, another.argtypes) == ((c_void_p,), (c_size_t,))


def test_a_kernel_that_was_not_compiled_is_none():
    assert native.kernel("no_such_kernel") is None


def test_the_environment_switches_the_kernels_off(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "0")
    assert native.active() == "none: switched off by COREML_ASSAY_NATIVE=0"
    assert native.kernel("gptq_round_columns") is None


def test_the_environment_names_a_path_that_exists(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "fastest")
    with pytest.raises(ValueError, match=r"must be 0, plain, avx2, .* got 'fastest'$"):
        native.active()


@pytest.fixture
def fresh_library():
    """The library is opened anew, in the test and after it."""
    caches = (native._library, native._instruction_sets, native._kernel)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the kernels were not compiled when the package was installed"),
        (b"no library", "the kernels cannot be loaded: "),
    ],
)
def test_without_a_library_there_are_no_kernels(
    monkeypatch, tmp_path, fresh_library, content, reason
):
    monkeypatch.delenv(native.VARIABLE, raising=False)
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    assert native.active().startswith(f"none: {reason}")
    assert native.available() == ()
    assert native.kernel("gptq_round_columns") is None


@needs_kernels
def test_a_library_of_other_sources_is_not_used(monkeypatch, fresh_library):
    monkeypatch.delenv(native.VARIABLE, raising=False)
    monkeypatch.setattr(native, "_INTERFACE", -1)
    assert native.active().startswith("none: the kernels were compiled from other sources; ")
