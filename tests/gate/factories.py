"""Small records to judge: each function gives a clean one, with what a test changes by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coreml_assay.gate import Reason, Status, Verdict
from coreml_assay.records import (
    Agreement,
    CheckResult,
    Environment,
    ModelRun,
    Outcome,
    Record,
    SuiteRun,
)


@dataclass(frozen=True)
class Clause:
    id: str
    text: str
    source: str = ""


@dataclass(frozen=True)
class Deviation:
    id: str
    title: str = "a title"
    severity: str = "major"
    documented: str = "what the documentation says"
    observed: str = "what happens"
    versions: str = ">=9,<10"
    implementation: str = "coremltools"
    upstream: str | None = None


def environment() -> Environment:
    return Environment(
        python="3.11.7",
        platform="Linux-6.1",
        machine="x86_64",
        cpu_count=2,
        packages={"numpy": "2.3.5", "coremltools": "9.0"},
    )


def check(outcome: Outcome = Outcome.PASS, **fields: Any) -> CheckResult:
    defaults: dict[str, Any] = {
        "check": "properties/test_codes.py::test_codes_lie_inside_the_grid",
        "kind": "property",
        "clauses": ("W.1",),
    }
    return CheckResult(outcome=outcome, **{**defaults, **fields})


def suite(*checks: CheckResult, **fields: Any) -> SuiteRun:
    checks = checks or (check(),)
    defaults: dict[str, Any] = {
        "implementation": "coremltools",
        "version": "9.0",
        "checks_expected": len({each.check for each in checks}),
    }
    return SuiteRun(checks=checks, **{**defaults, **fields})


def agreement(**fields: Any) -> Agreement:
    defaults: dict[str, Any] = {
        "implementation": "reference",
        "version": "1.0",
        "against": "coremltools",
        "against_version": "9.0",
        "seed": 7,
        "cases": 200,
        "equal": 200,
    }
    return Agreement(**{**defaults, **fields})


def model(**fields: Any) -> ModelRun:
    defaults: dict[str, Any] = {
        "model": "basic-pitch 0.4.0 nmp",
        "model_sha256": "ab" * 32,
        "configuration": "int4 per block 32",
        "target": "iOS18",
        "implementation": "coremltools",
        "version": "9.0",
        "compressed": ("conv_1.weight", "conv_2.weight"),
        "skipped": {"bias": "it has fewer elements than weight_threshold"},
        "float_bytes": 800_000,
        "bytes": 210_000,
        "operations": {"conv": 2, "constexpr_blockwise_shift_scale": 2},
        "weight_snr_db": 21.5,
        "worst_error_in_steps": 0.5,
        "reloads": True,
        "program_sha256": "cd" * 32,
    }
    return ModelRun(**{**defaults, **fields})


def record(**fields: Any) -> Record:
    """A clean record with a suite, an agreement and a model; give any as () to leave it out."""
    defaults: dict[str, Any] = {
        "tool_version": "1.0",
        "created": "2026-01-02T03:04:05Z",
        "seed": 7,
        "profile": "quick",
        "environment": environment(),
        "suites": (suite(),),
        "agreements": (agreement(),),
        "models": (model(),),
    }
    return Record(**{**defaults, **fields})


def only(verdict: Verdict) -> Reason:
    """The one reason there is, in a verdict that is a regression."""
    assert verdict.status is Status.REGRESSION, verdict
    assert len(verdict.reasons) == 1, verdict.reasons
    (reason,) = verdict.reasons
    assert "\n" not in reason.sentence
    return reason
