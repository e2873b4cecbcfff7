"""What one run measured, as data: the record, its schema version, reading and writing it.

Only data lives here. Judging a record is the gate's work, showing it the report's.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from coreml_assay.files import write_bytes
from coreml_assay.latency_records import Device, LatencyRun, Sentinel

# 2 added accuracy and sensitivities, 3 latency, 4 what was not run and what loads what was run;
# older records read as without.
SCHEMA_VERSION = 4


class Outcome(enum.Enum):
    """How a check ended on an implementation."""

    PASS = "pass"
    FAIL = "fail"
    DEVIATION = "deviation"  # fails as the registry says it does
    FIXED = "fixed"  # passes although the registry says it fails: the registry is out of date
    UNSUPPORTED = "unsupported"  # the implementation does not offer what is checked
    NOT_MEASURED = "not measured"


def _require_finite(figures: Mapping[str, float | None]) -> None:
    """JSON has no infinity and no NaN; written, they would read back as never measured."""
    for name, value in figures.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} is {value}, which a record cannot hold")


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a run took place."""

    python: str
    platform: str
    machine: str
    cpu_count: int
    packages: dict[str, str]  # distribution name -> version
    kernels: str = ""  # instruction set of the compiled kernels, or "none: " and why


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One check on one implementation."""

    check: str  # for example "properties/test_codes.py::test_codes_lie_inside_the_grid[int8]"
    kind: Literal["property", "golden", "recipe"]
    clauses: tuple[str, ...]
    outcome: Outcome
    detail: str = ""  # first line: one sentence; after it, for failures, a snippet that runs
    deviation: str | None = None  # id in the registry, for outcomes deviation and fixed


class SuiteRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The conformance suite run over one implementation."""

    implementation: str
    version: str
    checks_expected: int  # how many the suite has; fewer executed is a failure of the run
    checks: tuple[CheckResult, ...]
    loaded_as: str = ""  # the name it was asked for by, where known
    # Deterministic figures where smaller is better, for example "extra_memory_ratio".
    metrics: dict[str, float] = {}

    def __post_init__(self) -> None:
        _require_finite(self.metrics)


class NotRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An implementation of which the suite, or areas of it, could not be run."""

    implementation: str  # the name it was asked for by
    state: Literal["not installed", "failed"]
    detail: str  # one line: the command that installs it, or what went wrong
    areas: tuple[str, ...] = ()  # of the suite; none of them named means all


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seeded random programs written by two implementations and compared op for op."""

    implementation: str
    version: str
    against: str
    against_version: str
    seed: int
    cases: int
    equal: int
    deviating: dict[str, int] = {}  # deviation id -> cases it accounts for, not counted as equal
    differences: tuple[str, ...] = ()  # unexplained ones, a sentence each; empty when all agree


class ModelRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One real model quantized by one implementation with one configuration."""

    model: str  # for example "basic-pitch 0.4.0 nmp"
    model_sha256: str
    configuration: str  # for example "int4 per block 32"
    target: str  # deployment target the program was emitted for, for example "iOS18"
    implementation: str
    version: str
    error: str | None = None  # why there is nothing below, one line
    compressed: tuple[str, ...] = ()
    skipped: dict[str, str] = {}  # weight -> reason
    float_bytes: int = 0  # size of the package before
    bytes: int = 0  # and after
    operations: dict[str, int] = {}  # op type -> count
    weight_snr_db: float | None = None  # over all compressed weights together
    worst_error_in_steps: float | None = None  # largest |w - w'| / scale
    reloads: bool = False  # the written package opens and holds the same program
    program_sha256: str = ""  # of the program's canonical description

    def __post_init__(self) -> None:
        _require_finite(
            {
                "weight_snr_db": self.weight_snr_db,
                "worst_error_in_steps": self.worst_error_in_steps,
            }
        )


class OutputError(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far one output of a quantized model is from the float model's, over all samples."""

    output: str
    snr_db: float | None = None  # None where the two are equal, or there is no signal
    cosine: float | None = None  # None where either is zero
    largest: float | None = None  # largest absolute difference; 0 where they are equal
    non_finite: int = 0  # values that are NaN or infinite and should not be

    def __post_init__(self) -> None:
        _require_finite({"snr_db": self.snr_db, "cosine": self.cosine, "largest": self.largest})


class AccuracyRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Outputs of one real model, quantized one way by one implementation, on data."""

    model: str
    model_sha256: str
    trained: bool = False  # on the spot, so that another machine's weights are not the same
    data: str  # what it was measured on, in words
    configuration: str  # for example "W8A8"
    bits: int  # of the narrowest codes
    implementation: str
    version: str
    error: str | None = None  # why there is nothing below, one line
    known: str = ""  # the known defect of this version that explains a loss or an error
    float_bytes: int = 0
    bytes: int = 0
    outputs: tuple[OutputError, ...] = ()
    metric: str | None = None  # name of the task metric; larger is better
    float_score: float | None = None
    score: float | None = None
    seconds: float | None = None  # to quantize, calibration included; never judged

    def __post_init__(self) -> None:
        _require_finite(
            {"float_score": self.float_score, "score": self.score, "seconds": self.seconds}
        )


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One weight, or the activations of one operation, quantized alone by the reference."""

    model: str
    kind: Literal["weight", "activation"]
    name: str
    codes: str  # for example "int4 per channel"
    snr_db: float | None = None  # of the worst output; None where nothing changed

    def __post_init__(self) -> None:
        _require_finite({"snr_db": self.snr_db})


class LatencyResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of a session that was not refused, with its outputs against the evaluator's."""

    backend: Literal["coreml", "evaluator"]
    device: Device
    coremltools: str
    created: str  # when it was collected, ISO 8601, UTC
    run: LatencyRun
    sentinel: Sentinel  # of the same compute units
    float32: tuple[OutputError, ...]  # against the evaluator in float32
    float64: tuple[OutputError, ...]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything one run measured."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    created: str  # ISO 8601, UTC
    seed: int
    profile: str
    environment: Environment
    suites: tuple[SuiteRun, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    models: tuple[ModelRun, ...] = ()
    accuracy: tuple[AccuracyRun, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    latency: tuple[LatencyResult, ...] = ()
    not_run: tuple[NotRun, ...] = ()


class RecordError(ValueError):
    """A record that cannot be read: missing, malformed, or from a newer schema."""


class _Versioned(msgspec.Struct):
    schema_version: int


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RecordError: the file is missing, is not a record, or was written by a newer schema. The
            message is one line and names the file and the place in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        found = msgspec.json.decode(content, type=_Versioned).schema_version
        if found > SCHEMA_VERSION:
            raise RecordError(
                f"{path}: written with record schema {found}; this coreml-assay reads schema "
                f"{SCHEMA_VERSION} and older, so a newer coreml-assay is needed"
            )
        return msgspec.json.decode(content, type=Record)
    # Beside its own errors msgspec lets through bytes that are not UTF-8 and nesting without end.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The message quotes names from the file, which may hold line breaks.
        cause = " ".join(str(error).split())
        raise RecordError(f"{path}: not a valid record: {cause}") from error


def write_record(record: Record, path: Path) -> None:
    """Write a record as indented JSON, whole or not at all."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def record_schema() -> bytes:
    """The JSON Schema of a record."""
    return json_schema(Record)


def json_schema(kind: Any) -> bytes:
    """The JSON Schema of what msgspec reads as a type, indented."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(kind)), indent=2) + b"\n"
