"""What was measured of predictions, as data: a session on one machine, with every sample.

Only what was observed is here. Percentiles, shares and drift are worked out from it by whoever
shows them, so that no two figures of a record can contradict each other.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

SESSION_VERSION = 1

Nanoseconds = Annotated[int, msgspec.Meta(ge=0)]
Duration = Annotated[int, msgspec.Meta(gt=0)]  # nanoseconds
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Units = Literal["CPU_ONLY", "CPU_AND_NE", "ALL", "evaluator"]
Processor = Literal["cpu", "gpu", "neural engine"]
Thermal = Literal["unknown", "nominal", "moderate", "heavy", "trapping", "sleeping"]

DEVICE_UNITS: tuple[Units, ...] = ("CPU_ONLY", "CPU_AND_NE", "ALL")
EVALUATOR_UNITS: tuple[Units, ...] = ("evaluator",)
UNKNOWN = "unknown"


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What predicted; for the evaluator, that there was no device."""

    kind: Literal["mac", "iphone", "ipad", "none"]
    name: str  # the model: "Mac14,2"; of a phone the name it was given
    os_version: str
    os_build: str
    xcode: str  # "unknown" where there is none
    processors: tuple[Processor, ...]  # that Core ML sees; of a remote device none is told
    thermal_before: Thermal
    thermal_after: Thermal


class Round(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Predictions in a row, each timed; all are kept."""

    start_ns: Nanoseconds  # on a clock that began with the session
    elapsed_ns: Duration  # of the whole round, by the same clock
    samples_ns: tuple[Duration, ...]


class PlacedOperation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Core ML means to run one operation. The cost is its estimate, not a measurement."""

    operator: str
    preferred: Processor
    cost: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None  # share of the whole


class Placement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The plan of a model for the compute units that it was loaded with."""

    compute_units: Units
    operations: tuple[PlacedOperation, ...]


class LatencyRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One package on one choice of compute units."""

    model: str
    configuration: str
    package_sha256: Sha256
    inputs_sha256: Sha256
    compute_units: Units
    load_ns: Duration  # the first load in the session
    warm_up_ns: tuple[Duration, ...]
    rounds: tuple[Round, ...]
    placement: Placement | None = None  # None of the evaluator, which places nothing
    outputs_sha256: Sha256

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """All samples of all rounds."""
        return tuple(sample for each in self.rounds for sample in each.samples_ns)


class Sentinel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same small float16 model before and after everything else."""

    compute_units: Units
    package_sha256: Sha256
    before_ns: tuple[Duration, ...]
    after_ns: tuple[Duration, ...]


class Session(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything one collection measured, sealed with a checksum over itself."""

    schema_version: int
    tool_version: str
    created: str  # ISO 8601, UTC
    plan_sha256: Sha256
    backend: Literal["coreml", "evaluator"]
    coremltools: str
    python: str
    device: Device
    sentinels: tuple[Sentinel, ...]
    runs: tuple[LatencyRun, ...]
    seal: str = ""  # SHA-256 of the session without it
