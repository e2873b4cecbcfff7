"""The rules that need no baseline: what makes a record bad on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from coreml_assay.gate.latency import latency_reasons
from coreml_assay.gate.outputs import accuracy_reasons
from coreml_assay.gate.reasons import (
    Kind,
    Reason,
    agreement_subject,
    check_subject,
    model_subject,
    reason,
    suite_subject,
)
from coreml_assay.gate.tolerances import WORST_ERROR
from coreml_assay.gate.words import count, first_line
from coreml_assay.records import Agreement, CheckResult, ModelRun, NotRun, Outcome, Record, SuiteRun

_MOST = 3  # reasons given for checks that were not executed
_NOT_JUDGED = frozenset({Outcome.UNSUPPORTED, Outcome.NOT_MEASURED})


def measures(suite: SuiteRun) -> bool:
    """Whether at least one check of a suite came to a judgement."""
    return any(check.outcome not in _NOT_JUDGED for check in suite.checks)


def executed(suite: SuiteRun) -> int:
    """How many different checks ran; finding a capability absent counts as having run."""
    return len({c.check for c in suite.checks if c.outcome is not Outcome.NOT_MEASURED})


def unexplained(agreement: Agreement) -> int:
    """How many differences no deviation accounts for, by the list of them or by the counts."""
    left = agreement.cases - agreement.equal - sum(agreement.deviating.values())
    return max(left, len(agreement.differences), 0)


def absolute_reasons(record: Record) -> Iterator[Reason]:
    """Every breach of a rule that needs no baseline."""
    for suite in record.suites:
        yield from _suite_reasons(suite)
    for missing in record.not_run:
        if missing.state == "failed":
            yield reason(missing.implementation, Kind.NOT_RUN, not_run_sentence(missing))
    for agreement in record.agreements:
        yield from _agreement_reasons(agreement)
    for run in record.models:
        yield from _model_reasons(run)
    for measured in record.accuracy:
        yield from accuracy_reasons(measured)
    for result in record.latency:
        yield from latency_reasons(result)


def not_run_sentence(missing: NotRun) -> str:
    """What is missing of an implementation, and why."""
    name = missing.implementation
    if missing.state == "not installed":
        return f"{name} is not installed: {missing.detail}"
    what = f"The areas {', '.join(missing.areas)}" if missing.areas else "The suite"
    return f"{what} could not be run on {name}: {missing.detail}"


def _suite_reasons(suite: SuiteRun) -> Iterator[Reason]:
    yield from _failures(suite)
    for check in suite.checks:
        yield from _registry_reasons(suite, check)
    subject = suite_subject(suite)
    if not measures(suite):
        yield reason(
            subject,
            Kind.NOTHING_MEASURED,
            f"None of the {count(suite.checks_expected, 'check')} of the suite measured anything "
            f"on {subject}.",
        )
    elif executed(suite) < suite.checks_expected:
        yield reason(
            subject,
            Kind.CHECKS_NOT_EXECUTED,
            f"Only {executed(suite):,} of the {count(suite.checks_expected, 'check')} of the "
            f"suite were executed on {subject}{_why_not(suite)}.",
        )


def _why_not(suite: SuiteRun) -> str:
    """Why checks did not come to a judgement: the reasons that most of them give."""
    given = Counter(
        first_line(check.detail).rstrip(".")
        for check in suite.checks
        if check.outcome is Outcome.NOT_MEASURED and check.detail
    )
    reasons = [f"{why} ({count(number, 'check')})" for why, number in given.most_common(_MOST)]
    more = len(given) - len(reasons)
    if more:
        reasons.append(count(more, "more reason"))
    return f": {'; '.join(reasons)}" if reasons else ""


def _failures(suite: SuiteRun) -> Iterator[Reason]:
    """One reason for each check that fails, for all its parameters; properties say most, first."""
    name = suite_subject(suite)
    functions: dict[str, list[CheckResult]] = {}
    for check in sorted(suite.checks, key=lambda check: check.kind != "property"):
        if check.outcome is Outcome.FAIL:
            functions.setdefault(check.check.split("[", 1)[0], []).append(check)
    for function, failed in functions.items():
        where, subject = failed[0].check, check_subject(suite, failed[0])
        if len(failed) > 1:
            where, subject = f"{len(failed)} checks of {function}", f"{name}: {function}"
        detail = first_line(failed[0].detail) or "no detail was recorded."
        names_itself = detail.startswith(f"{name} ")
        sentence = f"{detail} ({where})" if names_itself else f"{name} fails {where}: {detail}"
        yield reason(subject, Kind.CHECK_FAILED, sentence)


def _registry_reasons(suite: SuiteRun, check: CheckResult) -> Iterator[Reason]:
    """What does not agree with the registry of deviations."""
    subject = check_subject(suite, check)
    name = suite_subject(suite)
    if check.outcome is Outcome.FIXED:
        entry = check.deviation or "that names this check"
        yield reason(
            subject,
            Kind.DEVIATION_FIXED,
            f"{name} passes {check.check} although the registry lists it as a deviation; "
            f"remove the entry {entry}.",
        )
    elif check.outcome is Outcome.DEVIATION and not check.deviation:
        yield reason(
            subject,
            Kind.DEVIATION_UNNAMED,
            f"{name} is recorded as deviating in {check.check}, but no registry entry is named.",
        )


def _agreement_reasons(agreement: Agreement) -> Iterator[Reason]:
    subject = agreement_subject(agreement)
    if agreement.cases <= 0:
        yield reason(subject, Kind.NO_CASES, f"No program was compared between {_pair(agreement)}.")
        return
    different = unexplained(agreement)
    if different:
        first = first_line(agreement.differences[0]) if agreement.differences else "not recorded."
        yield reason(
            subject,
            Kind.CASES_DIFFER,
            f"{_pair(agreement)} differ in {count(different, 'way')} that no registry entry "
            f"explains over {count(agreement.cases, 'program')} (seed {agreement.seed}); "
            f"the first: {first}",
        )


def _pair(agreement: Agreement) -> str:
    return (
        f"{agreement.implementation} {agreement.version} and "
        f"{agreement.against} {agreement.against_version}"
    )


def _model_reasons(run: ModelRun) -> Iterator[Reason]:
    subject = model_subject(run)
    what = f"{run.implementation} {run.version} on {run.model} with {run.configuration}"
    if run.error is not None:
        yield reason(subject, Kind.MODEL_ERROR, f"{what} ended with an error: {run.error}")
        return
    if not run.reloads:
        yield reason(
            subject,
            Kind.DOES_NOT_RELOAD,
            f"The package written by {what} does not open again as the same program.",
        )
    worst = run.worst_error_in_steps
    if worst is not None and worst > WORST_ERROR.value:
        yield reason(
            subject,
            Kind.ERROR_TOO_LARGE,
            f"{what} moves a weight by {worst:.4g} quantization steps; "
            f"at most {WORST_ERROR.value:g} is right.",
        )
