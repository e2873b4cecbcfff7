"""The golden cases of activation quantization: the sample programs, quantized every way."""

from __future__ import annotations

import msgspec

KINDS = (("linear_symmetric", "int8"), ("linear", "uint8"))
"""The modes and dtypes that each program is quantized with."""

ALL_KINDS = (*KINDS, ("linear_symmetric", "uint8"), ("linear", "int8"))
"""Those that the programs of mil.activation_programs.EVERY_WAY are quantized with."""


class QuantizedProgram(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a program became with one mode and dtype.

    Attributes:
        mode, dtype: of the configuration.
        lines: as `mil.pairs.described` gives them, every scale and zero point included.
    """

    mode: str
    dtype: str
    lines: tuple[str, ...]


class ActivationCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of mil.activation_programs.PROGRAMS, with the samples that `samples` makes for it.

    Attributes:
        name: of the program.
        given: its own lines.
        quantized: what became of it.
    """

    name: str
    given: tuple[str, ...]
    quantized: tuple[QuantizedProgram, ...]


class ActivationCases(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All cases of the area."""

    programs: tuple[ActivationCase, ...]
