"""The command protocol's files: what a case folder holds, and what a program may answer with.

A case is ``case.json`` and ``case.safetensors``; an answer is ``result.safetensors`` and then
``result.json``, whose presence says that the answer is whole. How a program is run is not here.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from coreml_assay.implementations.protocol import (
    CalibratedWeightSpec,
    Unsupported,
    WeightSpec,
)
from coreml_assay.numerics import Grid, QuantizedWeight, parameter_shape
from coreml_assay.numerics.blocks import Array

PROTOCOL = 1
MOST_JSON_BYTES = 1 << 20
"""A longer result.json is not read."""

Verb = Literal["quantize_weight", "gptq"]


class CommandError(RuntimeError):
    """A program under test did not answer as the protocol asks; the message is one line.

    Not a ValueError: a program that crashes on NaN has not refused it.
    """


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every JSON file of the protocol has in common."""

    protocol: int


class _Versioned(msgspec.Struct):
    """As much of a file as is sure to be in it, whatever protocol it is written in."""

    protocol: int


class CodeGrid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The codes to use: `coreml_assay.numerics.Grid` with everything spelled out."""

    bits: int
    signed: bool
    symmetric: bool
    all_codes: bool  # a symmetric grid that keeps the code without a counterpart
    lowest: int
    highest: int
    middle: int  # the zero point of a symmetric grid
    stores_zero_point: bool
    dtype: Literal["int8", "uint8"]


class Files(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of files in the case folder."""

    arrays: str = "case.safetensors"
    result_arrays: str = "result.safetensors"
    result: str = "result.json"


class DescribeCase(_File, frozen=True, kw_only=True, tag_field="verb", tag="describe"):
    """A case that asks a program who it is."""

    files: Files = Files()


class QuantizeWeightCase(_File, frozen=True, kw_only=True, tag_field="verb", tag="quantize_weight"):
    """A case that asks for the codes of the array ``weight``."""

    grid: CodeGrid
    block_shape: tuple[int, ...]  # block size along each axis, 0 for the whole axis
    files: Files = Files()


class GPTQCase(_File, frozen=True, kw_only=True, tag_field="verb", tag="gptq"):
    """A case that asks for the codes of the array ``weight`` under calibration inputs."""

    grid: CodeGrid
    block_shape: tuple[int, ...]
    inputs: tuple[str, ...]  # names of arrays, a batch each
    activation_order: bool
    processing_group_size: int
    hessian_dampening: float
    files: Files = Files()


Case = DescribeCase | QuantizeWeightCase | GPTQCase


class Description(_File, frozen=True, kw_only=True):
    """The result.json of a ``describe`` case."""

    name: str
    version: str
    verbs: tuple[Verb, ...]


class Result(_File, frozen=True, kw_only=True):
    """The result.json of the other cases."""

    status: Literal["ok", "unsupported", "error"]
    message: str = ""


_Answer = TypeVar("_Answer", Description, Result)


def quantize_weight_case(spec: WeightSpec) -> QuantizeWeightCase:
    """The case.json of a call of `TensorFace.quantize_weight`."""
    return QuantizeWeightCase(protocol=PROTOCOL, grid=_grid(spec.grid), block_shape=_sizes(spec))


def gptq_case(batches: int, spec: CalibratedWeightSpec) -> GPTQCase:
    """The case.json of a call of `CalibratedTensorFace.gptq` with so many batches of inputs."""
    return GPTQCase(
        protocol=PROTOCOL,
        grid=_grid(spec.grid),
        block_shape=_sizes(spec),
        inputs=tuple(f"input.{number}" for number in range(batches)),
        activation_order=spec.activation_order,
        processing_group_size=spec.processing_group_size,
        hessian_dampening=spec.hessian_dampening,
    )


def _sizes(spec: WeightSpec) -> tuple[int, ...]:
    return tuple(int(size) for size in spec.block_shape)  # JSON knows no numpy integers


def _grid(grid: Grid) -> CodeGrid:
    return CodeGrid(
        bits=int(grid.bits),
        signed=bool(grid.signed),
        symmetric=bool(grid.symmetric),
        all_codes=bool(grid.all_codes),
        lowest=grid.lowest,
        highest=grid.highest,
        middle=grid.middle,
        stores_zero_point=grid.stores_zero_point,
        dtype="int8" if grid.signed else "uint8",
    )


def write_case(
    folder: Path, case: Case, weight: Array | None = None, inputs: Sequence[Array] = ()
) -> None:
    """Write a case into an empty folder that nobody reads yet."""
    (folder / "case.json").write_bytes(msgspec.json.format(msgspec.json.encode(case), indent=1))
    if weight is None:
        return
    arrays = {"weight": weight, **{f"input.{i}": batch for i, batch in enumerate(inputs)}}
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    (folder / case.files.arrays).write_bytes(content)


def read_description(folder: Path) -> Description:
    """What a program says about itself.

    Raises:
        CommandError: it is missing or not valid.
    """
    found = _read_json(folder / Files().result, Description)
    for field in ("name", "version"):
        value = getattr(found, field)
        if not value.isprintable() or not 1 <= len(value) <= 80:
            raise CommandError(
                f"result.json: {field} must be 1 to 80 printable characters, got {value!r:.100}"
            )
    return found


def read_result(
    folder: Path, case: QuantizeWeightCase | GPTQCase, shape: tuple[int, ...]
) -> QuantizedWeight:
    """What a program made of a weight of a shape.

    The widths of dtypes are not looked at: a scale in float64 is for the suite to find.

    Raises:
        CommandError: a file is missing or not valid, or an array is not of its kind and shape.
        Unsupported: the program says so.
        ValueError: the program says that the weight cannot be quantized.
    """
    result = _read_json(folder / case.files.result, Result)
    message = " ".join(result.message.split())
    if result.status == "unsupported":
        raise Unsupported(message or "the program says so, and no more")
    if result.status == "error":
        raise ValueError(message or "the program gives no message")
    arrays = _read_arrays(folder / case.files.result_arrays)
    expected = {"codes": shape}
    try:
        blocks = parameter_shape(shape, case.block_shape)
    except ValueError:
        pass  # these blocks should have been refused, which the suite says better
    else:
        expected.update({"scale": blocks, "zero_point": blocks})
    for name, array in arrays.items():
        kinds = "f" if name == "scale" else "iu"
        if array.dtype.kind not in kinds:
            wanted = "floating point" if kinds == "f" else "integers"
            raise CommandError(f"result.safetensors: {name} is {array.dtype}, not {wanted}")
        if name in expected and array.shape != expected[name]:
            raise CommandError(
                f"result.safetensors: {name} has the shape {list(array.shape)}, "
                f"not {list(expected[name])}"
            )
    return QuantizedWeight(arrays["codes"], arrays["scale"], arrays.get("zero_point"))


def _read_json(path: Path, kind: type[_Answer]) -> _Answer:
    content = _read(path, MOST_JSON_BYTES)
    try:
        spoken = msgspec.json.decode(content, type=_Versioned).protocol
        if spoken != PROTOCOL:
            raise CommandError(
                f"{path.name}: protocol {spoken}; this coreml-assay speaks protocol {PROTOCOL}"
            )
        return msgspec.json.decode(content, type=kind)
    # Beside its own errors msgspec lets through bytes that are not UTF-8 and nesting without end.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise CommandError(f"{path.name} is not valid: {cause}") from error


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        arrays: dict[str, Array] = load(_read(path))
    # Beside its own errors safetensors lets through a dtype that numpy does not have.
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise CommandError(f"{path.name} is not valid: {cause}") from error
    names = arrays.keys()
    if not {"codes", "scale"} <= names <= {"codes", "scale", "zero_point"}:
        raise CommandError(
            f"{path.name} has {', '.join(sorted(names)) or 'no array'}; it must have codes and "
            "scale, may have zero_point, and nothing else"
        )
    return arrays


def _read(path: Path, most: int | None = None) -> bytes:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be read for ever
            raise CommandError(f"{path.name} is not a plain file")
        if most is not None and status.st_size > most:
            raise CommandError(f"{path.name} has {status.st_size} bytes, more than {most}")
        return path.read_bytes()
    except FileNotFoundError:
        raise CommandError(f"there is no {path.name}") from None
    except OSError as error:
        raise CommandError(f"{path.name} cannot be read: {error.strerror}") from error
