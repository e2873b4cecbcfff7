"""A record's models arranged for reading: what the summary and the report show, without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coreml_assay.gate.tables import grouped
from coreml_assay.gate.words import NOT_MEASURED, size
from coreml_assay.records import AccuracyRun, ModelRun, Record


@dataclass(frozen=True)
class ModelRow:
    """A model run with how its program compares to the other implementations'."""

    run: ModelRun
    programs: str

    @property
    def weights(self) -> int:
        """How many weights were considered."""
        return len(self.run.compressed) + len(self.run.skipped)

    @property
    def size(self) -> str:
        """The package's size before and after."""
        if not self.run.float_bytes and not self.run.bytes:
            return NOT_MEASURED
        return f"{size(self.run.float_bytes)} → {size(self.run.bytes)}"


@dataclass(frozen=True)
class ConfigurationGroup:
    """One configuration of a model over the implementations."""

    configuration: str
    target: str
    rows: tuple[ModelRow, ...]


@dataclass(frozen=True)
class ModelGroup:
    """One model over its configurations."""

    model: str
    sha256: str
    configurations: tuple[ConfigurationGroup, ...]


def model_groups(record: Record) -> tuple[ModelGroup, ...]:
    """The model runs by model, configuration and implementation."""
    by_model = grouped(((run.model, run.model_sha256), run) for run in record.models)
    return tuple(
        ModelGroup(model, sha256, _configurations(runs))
        for (model, sha256), runs in by_model.items()
    )


def _configurations(runs: Sequence[ModelRun]) -> tuple[ConfigurationGroup, ...]:
    groups = grouped(((run.configuration, run.target), run) for run in runs)
    return tuple(
        ConfigurationGroup(
            configuration, target, tuple(ModelRow(run, _programs(run, same)) for run in same)
        )
        for (configuration, target), same in groups.items()
    )


def _programs(run: ModelRun, all_runs: Sequence[ModelRun]) -> str:
    """How a run's program compares to those that the other implementations wrote."""
    others = [each for each in all_runs if each is not run and each.program_sha256]
    if not run.program_sha256 or not others:
        return NOT_MEASURED
    equal: list[str] = []
    unlike: list[str] = []
    for each in others:
        same = each.program_sha256 == run.program_sha256
        (equal if same else unlike).append(f"{each.implementation} {each.version}")
    parts = (("equal to", equal), ("unlike", unlike))
    return "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names)


@dataclass(frozen=True)
class AccuracyGroup:
    """The outputs of one model over its configurations and implementations."""

    model: str
    data: str
    metric: str | None
    float_score: float | None
    float_bytes: int
    runs: tuple[AccuracyRun, ...]


def accuracy_groups(record: Record) -> tuple[AccuracyGroup, ...]:
    """The accuracy runs by model, in the order they were measured."""
    groups = grouped(((run.model, run.data), run) for run in record.accuracy)
    return tuple(_accuracy_group(runs) for runs in groups.values())


def _accuracy_group(runs: Sequence[AccuracyRun]) -> AccuracyGroup:
    first = next((run for run in runs if run.float_score is not None), runs[0])
    return AccuracyGroup(
        first.model, first.data, first.metric, first.float_score, first.float_bytes, tuple(runs)
    )
