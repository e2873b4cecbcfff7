"""The compiled kernels: which instruction set they use here, and how to call them.

They are plain C without Python in it, built with the package where a C compiler is found and
called through ctypes, which lets other threads run meanwhile. Whatever they compute PyTorch
computes as well, and where they are missing it does: to the same bits, but for products of
matrices, whose sums are split otherwise.

``COREML_ASSAY_NATIVE`` in the environment forces a path: ``0`` for none, or ``plain``, ``avx2``,
``avx512`` or ``neon``.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "COREML_ASSAY_NATIVE"
INSTRUCTION_SETS = ("plain", "avx2", "avx512", "neon")
_INTERFACE = 6  # as in isa.c
_OFF = "0"

Kernel = Callable[..., int]


class _NotThereError(Exception):
    """The kernels cannot be used; the message is the reason."""


def active() -> str:
    """The path in use: ``avx512``, ``avx2``, ``neon``, ``plain``, or ``none: `` and the reason.

    Raises:
        ValueError: ``COREML_ASSAY_NATIVE`` is set to a word that names no path.
    """
    try:
        return _chosen(os.environ.get(VARIABLE, ""))
    except _NotThereError as reason:
        return f"none: {reason}"


def available() -> tuple[str, ...]:
    """The instruction sets that the kernels can use on this machine, the best last."""
    try:
        return _instruction_sets()
    except _NotThereError:
        return ()


def kernel(name: str, *argument_types: Any) -> Kernel | None:
    """A kernel for the path in use, or None where none is.

    Args:
        name: the C function's name without the instruction set.
        argument_types: ctypes types of its arguments; it returns an int.

    Returns:
        The function; arrays are passed as addresses, and must be contiguous and stay alive.

    Raises:
        ValueError: as `active`.
    """
    try:
        return _kernel(name, _chosen(os.environ.get(VARIABLE, "")), argument_types)
    except _NotThereError:
        return None


@functools.cache
def _kernel(name: str, instruction_set: str, argument_types: tuple[Any, ...]) -> Kernel:
    try:
        # By key a function is one's own. As an attribute it is one for all who ask, and a second
        # one's argument types would be in force for the first.
        function = _library()[f"{name}_{instruction_set}"]
    except AttributeError:
        raise _NotThereError(f"the kernels were compiled before there was one of {name}") from None
    function.argtypes = argument_types
    function.restype = ctypes.c_int
    return function


def _chosen(wanted: str) -> str:
    if wanted == _OFF:
        raise _NotThereError(f"switched off by {VARIABLE}=0")
    if wanted and wanted not in INSTRUCTION_SETS:
        raise ValueError(
            f"{VARIABLE} must be 0, {', '.join(INSTRUCTION_SETS)} or unset, got {wanted!r}"
        )
    found = _instruction_sets()
    if wanted and wanted not in found:
        raise _NotThereError(f"{VARIABLE}={wanted}, but this machine has {', '.join(found)}")
    return wanted or found[-1]


@functools.cache
def _instruction_sets() -> tuple[str, ...]:
    isas = _library().coreml_assay_isas
    isas.restype = ctypes.c_char_p
    return tuple(isas().decode().split())


@functools.cache
def _library() -> ctypes.CDLL:
    path = Path(__file__).with_name(f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}")
    if not path.exists():
        raise _NotThereError("the kernels were not compiled when the package was installed")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise _NotThereError(f"the kernels cannot be loaded: {error}") from error
    if library.coreml_assay_interface() != _INTERFACE:
        raise _NotThereError(
            "the kernels were compiled from other sources; install the package again"
        )
    return library
