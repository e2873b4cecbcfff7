"""What predicts: the protocol, and the evaluator, which stands in where there is no device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy.typing as npt
import torch

from coreml_assay.latency_records import EVALUATOR_UNITS, Device, Placement, Units
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program, open_package

Arrays = Mapping[str, npt.NDArray[Any]]


class UnavailableError(RuntimeError):
    """A backend that cannot be used here; one line that says what it needs."""


class Loaded(Protocol):
    """A package, loaded for one choice of compute units."""

    load_ns: int

    def predict(self, inputs: Arrays) -> tuple[Arrays, int]:
        """Outputs by name, and the nanoseconds that the prediction itself took."""

    def placement(self) -> Placement | None:
        """Where the operations are planned to run."""

    def close(self) -> None:
        """Unload it."""


class Backend(Protocol):
    """Something that predicts."""

    name: Literal["coreml", "evaluator"]
    compute_units: tuple[Units, ...]

    def load(self, package: Path, compute_units: Units) -> Loaded:
        """Load a package."""

    def device(self, before: Device | None) -> Device:
        """What predicts, as it is now; ``before`` is what it was when the session began."""


class EvaluatorBackend:
    """The evaluator at one thread, timed in CPU time: no device, and never called one.

    Args:
        clock: in nanoseconds.
    """

    name: Literal["coreml", "evaluator"] = "evaluator"
    compute_units: tuple[Units, ...] = EVALUATOR_UNITS

    def __init__(self, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self._clock = clock
        torch.set_num_threads(1)

    def load(self, package: Path, compute_units: Units) -> Loaded:
        """Prepare a package's program for evaluation."""
        return _Evaluated(package, self._clock)

    def device(self, before: Device | None) -> Device:
        """That there is none."""
        return Device(
            kind="none",
            name="none",
            os_version="none",
            os_build="none",
            xcode="unknown",
            processors=(),
            thermal_before="unknown",
            thermal_after="unknown",
        )


class _Evaluated:
    """A program ready for evaluation."""

    def __init__(self, package: Path, clock: Callable[[], int]) -> None:
        self._clock = clock
        start = clock()
        self._evaluator = Evaluator(load_program(open_package(package)))
        self.load_ns = clock() - start

    def predict(self, inputs: Arrays) -> tuple[Arrays, int]:
        start = self._clock()
        outputs = self._evaluator.predict(inputs)
        return outputs, self._clock() - start

    def placement(self) -> None:
        return None

    def close(self) -> None:
        return None
