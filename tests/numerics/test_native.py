"""Which path the kernels take: the one that was compiled, unless another is asked for."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from coreml_assay.numerics import native

BUILT = Path(native.__file__).with_name(f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}")


@pytest.mark.skipif(not BUILT.exists(), reason="nothing was compiled here")
def test_what_was_compiled_is_used(monkeypatch):
    # A library of older sources would let the tests of every kernel pass without running one.
    monkeypatch.delenv(native.VARIABLE, raising=False)
    assert native.active() in native.INSTRUCTION_SETS
    assert native.available()


def test_the_environment_switches_the_kernels_off(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "0")
    assert native.active() == "none: switched off by COREML_ASSAY_NATIVE=0"
    assert native.kernel("gptq_round_columns") is None


def test_the_environment_names_a_path_that_exists(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "fastest")
    with pytest.raises(ValueError, match=r"must be 0, plain, avx2, .* got 'fastest'$"):
        native.active()
