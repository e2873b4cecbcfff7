"""A record against a baseline: what was there or was better before, and what is better now.

Deterministic figures are compared exactly, also between versions of an implementation: a change
that came with an upgrade is still a change, and the sentence says both versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from coreml_assay.gate.latency_comparison import compare_latency
from coreml_assay.gate.models import compare_models
from coreml_assay.gate.outputs import compare_accuracy
from coreml_assay.gate.reasons import (
    Kind,
    Reason,
    agreement_subject,
    check_subject,
    reason,
    suite_subject,
)
from coreml_assay.gate.words import count, first_line, metric
from coreml_assay.records import AccuracyRun, Agreement, ModelRun, Outcome, Record, SuiteRun

_NOTES = frozenset({Kind.IMPROVED, Kind.NEW, Kind.CHANGED, Kind.FASTER, Kind.UNDECIDED})
# The rules without a baseline name these already; once is enough.
_NAMED_ALREADY = frozenset({Outcome.FAIL, Outcome.FIXED})


def compare(record: Record, baseline: Record) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """What is worse than in the baseline, and notes on what is better or merely different."""
    found = (
        *_profiles(record, baseline),
        *_all_pairs(record, baseline),
        *compare_latency(record, baseline),
    )
    return (
        tuple(each for each in found if each.kind not in _NOTES),
        tuple(each for each in found if each.kind in _NOTES),
    )


class _Versioned(Protocol):
    @property
    def version(self) -> str: ...


_Run = TypeVar("_Run", bound=_Versioned)


def _paired(
    new: Sequence[_Run], old: Sequence[_Run], key: Callable[[_Run], object]
) -> Iterator[tuple[_Run | None, _Run | None]]:
    """Pairs of runs with the same key, of the same version where both sides have that one."""
    left = list(new)
    for before in old:
        same = [run for run in left if key(run) == key(before)]
        exact = [run for run in same if run.version == before.version]
        others = {run.version for run in old if key(run) == key(before)}
        upgraded = [run for run in same if run.version not in others]
        after = next(iter(exact or upgraded), None)
        if after is not None:
            left.remove(after)
        yield after, before
    for after in left:
        yield after, None


def _suite_key(run: SuiteRun) -> str:
    return run.implementation


def _agreement_key(run: Agreement) -> tuple[str, str]:
    return run.implementation, run.against


def _model_key(run: ModelRun) -> tuple[str, str, str, str]:
    return run.implementation, run.model, run.configuration, run.target


def _accuracy_key(run: AccuracyRun) -> tuple[str, str, str]:
    return run.implementation, run.model, run.configuration


def _profiles(record: Record, baseline: Record) -> Iterator[Reason]:
    if record.profile != baseline.profile:
        yield reason(
            "record",
            Kind.CHANGED,
            f"The record was made with profile {record.profile}, "
            f"the baseline with profile {baseline.profile}.",
        )


def _all_pairs(record: Record, baseline: Record) -> Iterator[Reason]:
    for suite, old_suite in _paired(record.suites, baseline.suites, _suite_key):
        yield from _compare_suites(suite, old_suite)
    for agreement, old_agreement in _paired(record.agreements, baseline.agreements, _agreement_key):
        yield from _compare_agreements(agreement, old_agreement)
    for run, old_run in _paired(record.models, baseline.models, _model_key):
        yield from compare_models(run, old_run)
    for measured, old_measured in _paired(record.accuracy, baseline.accuracy, _accuracy_key):
        yield from compare_accuracy(measured, old_measured)


def _since(version: str, old_version: str) -> str:
    return version if version == old_version else f"{version} ({old_version} in the baseline)"


def _compare_suites(new: SuiteRun | None, old: SuiteRun | None) -> Iterator[Reason]:
    if new is None:
        if old is not None:
            subject = suite_subject(old)
            yield reason(
                subject,
                Kind.MISSING,
                f"The suite ran on {subject} in the baseline and is missing from the record.",
            )
    elif old is None:
        subject = suite_subject(new)
        yield reason(subject, Kind.NEW, f"{subject} is not in the baseline.")
    else:
        yield from _compare_checks(new, old)
        yield from _compare_metrics(new, old)


def _compare_checks(new: SuiteRun, old: SuiteRun) -> Iterator[Reason]:
    name = f"{new.implementation} {_since(new.version, old.version)}"
    results = {check.check: check for check in new.checks}
    for before in {check.check: check for check in old.checks}.values():
        after = results.pop(before.check, None)
        subject = check_subject(new, before)
        passed = before.outcome is Outcome.PASS
        if after is None:
            if passed:
                yield reason(
                    subject,
                    Kind.MISSING,
                    f"{before.check} used to pass on {name} and is missing from the record.",
                )
        elif passed and after.outcome not in (Outcome.PASS, *_NAMED_ALREADY):
            because = first_line(after.detail)
            yield reason(
                subject,
                Kind.PASS_LOST,
                f"{before.check} used to pass on {name} and is now "
                f"{_outcome_words(after.outcome, after.deviation)}"
                f"{': ' + because if because else '.'}",
            )
        elif after.outcome is Outcome.PASS and before.outcome is not Outcome.PASS:
            yield reason(
                subject,
                Kind.IMPROVED,
                f"{before.check} passes on {name}; before, it was "
                f"{_outcome_words(before.outcome, before.deviation)}.",
            )
    if results:
        yield reason(
            suite_subject(new),
            Kind.NEW,
            f"{name} has {count(len(results), 'check')} that the baseline does not have.",
        )


def _outcome_words(outcome: Outcome, deviation: str | None) -> str:
    named = outcome in (Outcome.DEVIATION, Outcome.FIXED) and deviation
    return f"{outcome.value} {deviation}" if named else outcome.value


def _compare_metrics(new: SuiteRun, old: SuiteRun) -> Iterator[Reason]:
    """Compare a suite's metrics; each of them is smaller when better."""
    name = f"{new.implementation} {_since(new.version, old.version)}"
    for key, before in old.metrics.items():
        subject = f"{suite_subject(new)}: {key}"
        after = new.metrics.get(key)
        if after is None:
            yield reason(
                subject,
                Kind.FIGURE_LOST,
                f"{key} of {name} used to be {metric(before)} and was not measured.",
            )
        elif after > before:
            yield reason(
                subject,
                Kind.METRIC_ROSE,
                f"{key} of {name} rose from {metric(before)} to {metric(after)}; "
                "smaller is better.",
            )
        elif after < before:
            yield reason(
                subject,
                Kind.IMPROVED,
                f"{key} of {name} fell from {metric(before)} to {metric(after)}.",
            )


def _compare_agreements(new: Agreement | None, old: Agreement | None) -> Iterator[Reason]:
    if new is None:
        if old is not None:
            subject = agreement_subject(old)
            yield reason(
                subject,
                Kind.MISSING,
                f"{subject} was compared in the baseline and is missing from the record.",
            )
        return
    subject = agreement_subject(new)
    if old is None:
        yield reason(subject, Kind.NEW, f"{subject} is not in the baseline.")
        return
    pair = (
        f"{new.implementation} {_since(new.version, old.version)} and "
        f"{new.against} {_since(new.against_version, old.against_version)}"
    )
    if new.cases < old.cases:
        yield reason(
            subject,
            Kind.FEWER_CASES,
            f"{count(new.cases, 'program')} were compared between {pair}; "
            f"before, there were {old.cases:,}.",
        )
    # Counts of different programs say nothing about each other.
    elif (new.seed, new.cases) == (old.seed, old.cases) and new.equal != old.equal:
        kind = Kind.FEWER_EQUAL if new.equal < old.equal else Kind.IMPROVED
        yield reason(
            subject,
            kind,
            f"{new.equal:,} of {count(new.cases, 'program')} are equal between {pair}; "
            f"before, {old.equal:,} were.",
        )
