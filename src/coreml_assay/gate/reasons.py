"""A reason: one finding of the gate, with the thing it is about and one sentence on it."""

from __future__ import annotations

import enum

import msgspec

from coreml_assay.gate.words import one_line
from coreml_assay.records import (
    AccuracyRun,
    Agreement,
    CheckResult,
    LatencyResult,
    ModelRun,
    SuiteRun,
)


class Kind(enum.Enum):
    """What a reason says about its subject."""

    CHECK_FAILED = "check failed"
    DEVIATION_FIXED = "deviation fixed"
    DEVIATION_UNNAMED = "deviation unnamed"
    CHECKS_NOT_EXECUTED = "checks not executed"
    NOT_RUN = "not run"
    NOTHING_MEASURED = "nothing measured"
    CASES_DIFFER = "cases differ"
    NO_CASES = "no cases"
    MODEL_ERROR = "model error"
    DOES_NOT_RELOAD = "does not reload"
    ERROR_TOO_LARGE = "error too large"
    ACCURACY_LOST = "accuracy lost"
    LOSS_GONE = "known loss gone"
    PASS_LOST = "pass lost"
    MISSING = "missing"
    MODEL_REPLACED = "model replaced"
    SIZE_GREW = "size grew"
    WEIGHT_NOT_COMPRESSED = "weight not compressed"
    OPERATIONS_CHANGED = "operations changed"
    SNR_FELL = "SNR fell"
    METRIC_ROSE = "metric rose"
    FIGURE_LOST = "figure lost"
    FEWER_CASES = "fewer cases"
    FEWER_EQUAL = "fewer equal"
    SLOWER = "slower"
    FASTER = "faster"
    UNDECIDED = "undecided"
    NOT_COMPARED = "not compared"
    IMPROVED = "improved"
    NEW = "new"
    CHANGED = "changed"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: what it is about, its kind, and one line that a stranger understands."""

    subject: str
    kind: Kind
    sentence: str


def reason(subject: str, kind: Kind, sentence: str) -> Reason:
    """A reason on one line, whatever the record's texts hold."""
    return Reason(subject=one_line(subject), kind=kind, sentence=one_line(sentence))


def suite_subject(suite: SuiteRun) -> str:
    """An implementation, named as a subject."""
    return f"{suite.implementation} {suite.version}"


def check_subject(suite: SuiteRun, check: CheckResult) -> str:
    """A check on an implementation, named as a subject."""
    return f"{suite_subject(suite)}: {check.check}"


def model_subject(run: ModelRun) -> str:
    """A model with a configuration on an implementation, named as a subject."""
    return f"{run.implementation} {run.version}: {run.model}, {run.configuration}, {run.target}"


def accuracy_subject(run: AccuracyRun) -> str:
    """The outputs of a model with a configuration, named as a subject."""
    return f"{run.implementation} {run.version}: outputs of {run.model}, {run.configuration}"


def agreement_subject(agreement: Agreement) -> str:
    """The agreement of two implementations, named as a subject."""
    return (
        f"{agreement.implementation} {agreement.version} against "
        f"{agreement.against} {agreement.against_version}"
    )


def latency_subject(result: LatencyResult) -> str:
    """A model with a configuration on a device's compute units, named as a subject."""
    run = result.run
    if result.backend == "evaluator":
        return f"{run.model}, {run.configuration} on the evaluator"
    return f"{run.model}, {run.configuration} on {result.device.name}, {run.compute_units}"
