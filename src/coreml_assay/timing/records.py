"""What one comparison of two sides measured, as data, and reading and writing it.

Nothing is judged here. CPU seconds are what counts; wall seconds are kept to be looked at.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from coreml_assay.files import write_bytes
from coreml_assay.records import RecordError

SCHEMA_VERSION = 1


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a comparison took place."""

    cpu: str  # model name
    cores: int
    platform: str
    machine: str
    python: str


class SideFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two sides, as its own process describes itself."""

    name: str  # as on the command line: a revision, or an implementation
    implementation: str
    revision: str = ""  # commit of the package, where revisions are compared
    version: str
    kernels: str  # instruction set of the compiled kernels, or "none: " and why
    numpy: str
    torch: str
    coremltools: str


class Pair(msgspec.Struct, frozen=True, array_like=True):
    """The same number of calls on both sides, one right after the other; seconds."""

    start: int  # the processes were started anew for each of these
    before_first: bool
    calls: int
    before_cpu: float
    after_cpu: float
    before_wall: float
    after_wall: float

    def __post_init__(self) -> None:
        seconds = (self.before_cpu, self.after_cpu, self.before_wall, self.after_wall)
        if self.calls < 1 or not all(math.isfinite(each) and each > 0 for each in seconds):
            raise ValueError("times are positive, and of at least one call")


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one workload came to."""

    name: str
    pairs: tuple[Pair, ...] = ()
    # Deterministic figures, smaller being better; None where the side did not get that far.
    before_metrics: dict[str, float] | None = None
    after_metrics: dict[str, float] | None = None
    # Why a side has no figures, one line.
    before_problem: str = ""
    after_problem: str = ""


class TimeRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything one comparison measured."""

    time_schema_version: int = SCHEMA_VERSION
    tool_version: str
    created: str  # ISO 8601, UTC
    seed: int
    machine: Machine
    before: SideFacts
    after: SideFacts
    workloads: tuple[Workload, ...] = ()
    interrupted: bool = False


class _Versioned(msgspec.Struct):
    time_schema_version: int


def read_times(path: Path) -> TimeRecord:
    """Read a record of times.

    Raises:
        RecordError: the file is missing, is none, or was written by a newer schema.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        found = msgspec.json.decode(content, type=_Versioned).time_schema_version
        if found > SCHEMA_VERSION:
            raise RecordError(
                f"{path}: written with time schema {found}; this coreml-assay reads schema "
                f"{SCHEMA_VERSION} and older, so a newer coreml-assay is needed"
            )
        return msgspec.json.decode(content, type=TimeRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise RecordError(f"{path}: not a valid record of times: {cause}") from error


def write_times(record: TimeRecord, path: Path) -> None:
    """Write a record of times as indented JSON, whole or not at all."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
