"""Rebuilding a program from a specification and its weight files, one weight in memory at a time.

coremltools' own loader does the work. Its reader however holds the whole weight file while the
weights are copied out of it, so another one takes its place here.
"""

from __future__ import annotations

import struct
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.converters.mil.frontend.milproto import load as milproto
from coremltools.converters.mil.mil import Program

from coreml_assay.numerics.blocks import Array

# Of a weight file, all little-endian: how many arrays it holds and the format's version; before
# each array, at the offset by which it is known, a mark, its type, its bytes and where they are.
_FILE_HEADER = struct.Struct("<II")
_VERSION = 2
_ARRAY_HEADER = struct.Struct("<IIQQ")
_MARK = 0xDEADBEEF
# The reader's methods that are answered here: a type's number in the file, and as what it is read.
_READ_HERE = {
    "read_fp16_data": (1, "<u2"),
    "read_float_data": (2, "<f4"),
    "read_uint8_data": (3, "u1"),
    "read_int8_data": (4, "i1"),
}


def rebuild(specification: Any, version: int, weights_dir: str | None) -> Program:
    """Rebuild a program.

    Args:
        specification: of a model, which is an ML program.
        version: the specification version to raise it to, at least its own.
        weights_dir: the folder with its weight files, or None where there is none.

    Returns:
        A coremltools program.

    Raises:
        RuntimeError, ValueError, OSError, AttributeError: a file is missing, truncated or damaged.
    """
    program = specification.mlProgram
    if program.version != 1:
        raise ValueError(f"the ML program has version {program.version}, only 1 is known")
    context = milproto.TranscriptionContext(weights_dir)
    if weights_dir is not None:
        context.blob_reader_from_filename = {
            str(path): WeightFile(path) for path in Path(weights_dir).iterdir()
        }
    rebuilt = Program()
    for name, function in program.functions.items():
        rebuilt.add_function(name, milproto._load_function(context, function, version))
    return rebuilt


class WeightFile:
    """Stands in for coremltools' reader of a weight file, and reads no more than is asked for.

    Types other than floats and bytes are left to that reader.
    """

    def __init__(self, path: Path) -> None:
        """Take the path of the file, which is first opened by what is read."""
        self._path = path

    def __getattr__(self, name: str) -> Any:
        """The method of coremltools' reader that has this name."""
        if name in _READ_HERE:
            return partial(self._read, *_READ_HERE[name])
        return getattr(self._whole, name)

    @cached_property
    def _whole(self) -> Any:
        return milproto.BlobReader(str(self._path))

    def _read(self, kind: int, dtype: str, offset: int) -> Array:
        length = self._path.stat().st_size
        with self._path.open("rb") as file:
            _, version = _unpacked(_FILE_HEADER, file.read(_FILE_HEADER.size))
            file.seek(offset)
            mark, found, size, start = _unpacked(_ARRAY_HEADER, file.read(_ARRAY_HEADER.size))
            if (version, mark, found) != (_VERSION, _MARK, kind) or start + size > length:
                raise ValueError(f"{self._path.name} holds no array of type {kind} at {offset}")
            file.seek(start)
            return np.fromfile(file, dtype, size // np.dtype(dtype).itemsize)


def _unpacked(header: struct.Struct, content: bytes) -> tuple[int, ...]:
    if len(content) < header.size:
        raise ValueError("the weight file ends within a header")
    return header.unpack(content)
