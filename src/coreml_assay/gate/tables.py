"""A record's suites arranged for reading: what the summary and the report show, without markup."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from coreml_assay.conformance.registry import AREAS, area_of_clause
from coreml_assay.gate.absolute import executed
from coreml_assay.gate.reasons import suite_subject
from coreml_assay.gate.words import first_line
from coreml_assay.records import CheckResult, Outcome, Record, SuiteRun

_T = TypeVar("_T")
_K = TypeVar("_K")
RECORD_FILE = "record.json"  # beside the report
WORST_FIRST = (
    Outcome.FAIL,
    Outcome.FIXED,
    Outcome.DEVIATION,
    Outcome.NOT_MEASURED,
    Outcome.UNSUPPORTED,
    Outcome.PASS,
)


def grouped(items: Iterable[tuple[_K, _T]]) -> dict[_K, list[_T]]:
    """Items by key, in the order they come."""
    groups: dict[_K, list[_T]] = {}
    for key, item in items:
        groups.setdefault(key, []).append(item)
    return groups


class Clause(Protocol):
    """One numbered statement of documented behaviour."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102


class Deviation(Protocol):
    """One entry of the deviation registry."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def documented(self) -> str: ...  # noqa: D102
    @property
    def observed(self) -> str: ...  # noqa: D102
    @property
    def versions(self) -> str: ...  # noqa: D102
    @property
    def implementation(self) -> str: ...  # noqa: D102
    @property
    def upstream(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True)
class Outcomes:
    """How often each outcome came up, worst first."""

    counts: tuple[tuple[Outcome, int], ...]

    @property
    def worst(self) -> Outcome | None:
        """The worst outcome; none where there is no check."""
        return self.counts[0][0] if self.counts else None

    @property
    def total(self) -> int:
        """How many checks there are."""
        return sum(number for _, number in self.counts)


def outcomes(checks: Iterable[CheckResult]) -> Outcomes:
    """Count the outcomes of some checks."""
    found = Counter(check.outcome for check in checks)
    return Outcomes(tuple((each, found[each]) for each in WORST_FIRST if found[each]))


@dataclass(frozen=True)
class SuiteRow:
    """One implementation at a glance."""

    name: str
    executed: int
    expected: int
    outcomes: Outcomes


def suite_rows(record: Record) -> tuple[SuiteRow, ...]:
    """Every implementation at a glance."""
    return tuple(
        SuiteRow(
            suite_subject(suite), executed(suite), suite.checks_expected, outcomes(suite.checks)
        )
        for suite in record.suites
    )


@dataclass(frozen=True)
class ClauseRow:
    """A clause over all implementations.

    Attributes:
        kinds: how many checks of each kind name it, for example {"property": 3}.
        cells: how they ended, for each implementation.
    """

    id: str
    text: str
    source: str
    kinds: dict[str, int]
    cells: tuple[Outcomes, ...]

    @property
    def checked(self) -> bool:
        """Whether any check names the clause."""
        return any(cell.total for cell in self.cells)


@dataclass(frozen=True)
class ClauseGroup:
    """The clauses that share a letter."""

    letter: str
    rows: tuple[ClauseRow, ...]

    @property
    def checked(self) -> int:
        """How many of the clauses have a check."""
        return sum(row.checked for row in self.rows)


def clause_groups(record: Record, clauses: Sequence[Clause]) -> tuple[ClauseGroup, ...]:
    """Clauses by implementation; one that only checks name is shown too, as not listed."""
    by_clause = [_checks_by_clause(suite) for suite in record.suites]
    listed = {clause.id: (clause.text, clause.source) for clause in clauses}
    unlisted = {name for checks in by_clause for name in checks} - listed.keys()
    listed.update(dict.fromkeys(unlisted, ("This clause is not in the list of clauses.", "")))
    groups: dict[str, list[ClauseRow]] = {}
    for name in [clause.id for clause in clauses] + sorted(unlisted):
        text, source = listed[name]
        found = [checks.get(name, []) for checks in by_clause]
        kinds = Counter({each.check: each.kind for checks in found for each in checks}.values())
        cells = tuple(outcomes(checks) for checks in found)
        row = ClauseRow(name, text, source, dict(sorted(kinds.items())), cells)
        groups.setdefault(name.split(".")[0], []).append(row)
    return tuple(ClauseGroup(letter, tuple(rows)) for letter, rows in groups.items())


@dataclass(frozen=True)
class AreaGroup:
    """The clauses of one area of the documentation."""

    area: str
    rows: tuple[ClauseRow, ...]


def area_groups(groups: Sequence[ClauseGroup]) -> tuple[AreaGroup, ...]:
    """The rows of clauses by area, those of no area last."""
    areas: dict[str, list[ClauseRow]] = {area: [] for area in AREAS}
    for row in (row for group in groups for row in group.rows):
        areas.setdefault(area_of_clause(row.id) or "in no list of clauses", []).append(row)
    return tuple(AreaGroup(area, tuple(rows)) for area, rows in areas.items() if rows)


@dataclass(frozen=True)
class Explanation:
    """What some checks of one clause, ended alike for the same reason, have to say.

    Attributes:
        outcome: of all of them; never a pass.
        sentence: the reason.
        deviation: the registry's entry, where there is one.
        checks: their names.
    """

    outcome: Outcome
    sentence: str
    deviation: str | None
    checks: tuple[str, ...]


@dataclass(frozen=True)
class CellDetails:
    """A clause on an implementation, where anything but passing came up.

    Attributes:
        anchor: what the cell links to.
    """

    anchor: str
    implementation: str
    clause: str
    explanations: tuple[Explanation, ...]


def anchor(suite: int, clause: str) -> str:
    """The place of a cell's details in the page: by the suite's place in the record."""
    return f"cell-{suite}-{clause}"


def cell_details(record: Record) -> tuple[CellDetails, ...]:
    """The details of every cell of clauses by implementations that is not all passes."""
    return tuple(
        CellDetails(anchor(place, clause), suite_subject(suite), clause, _explanations(unlike))
        for place, suite in enumerate(record.suites)
        for clause, checks in _checks_by_clause(suite).items()
        if (unlike := [check for check in checks if check.outcome is not Outcome.PASS])
    )


def _explanations(checks: Sequence[CheckResult]) -> tuple[Explanation, ...]:
    groups = grouped(
        ((check.outcome, first_line(check.detail), check.deviation), check.check)
        for check in checks
    )
    ordered = sorted(groups.items(), key=lambda item: WORST_FIRST.index(item[0][0]))
    return tuple(Explanation(*reason, checks=tuple(names)) for reason, names in ordered)


def _checks_by_clause(suite: SuiteRun) -> dict[str, list[CheckResult]]:
    found: dict[str, list[CheckResult]] = {}
    for check in suite.checks:
        for clause in set(check.clauses):
            found.setdefault(clause, []).append(check)
    return found


@dataclass(frozen=True)
class Finding:
    """A check with the implementation it ran on.

    Attributes:
        implementation: name and version.
        check: its result.
        replay: the command that runs it again, where the record is.
    """

    implementation: str
    check: CheckResult
    replay: str


def findings(record: Record, *wanted: Outcome) -> tuple[Finding, ...]:
    """The checks with the wanted outcomes."""
    return tuple(
        Finding(suite_subject(suite), check, _replay(suite, check))
        for suite in record.suites
        for check in suite.checks
        if check.outcome in wanted
    )


def _replay(suite: SuiteRun, check: CheckResult) -> str:
    name = suite.loaded_as or suite.implementation
    return shlex.join(("coreml-assay", "replay", RECORD_FILE, check.check, "-i", name))


@dataclass(frozen=True)
class DeviationRow:
    """A registry entry with what showed it; the entry is none if the registry lacks the id."""

    id: str
    entry: Deviation | None
    findings: tuple[Finding, ...]
    cases: int


def deviation_rows(record: Record, deviations: Sequence[Deviation]) -> tuple[DeviationRow, ...]:
    """The deviations that this record shows, in the registry's order, unlisted ids last."""
    seen: dict[str, list[Finding]] = {}
    for finding in findings(record, Outcome.DEVIATION):
        seen.setdefault(finding.check.deviation or "without an entry", []).append(finding)
    cases: Counter[str] = Counter()
    for agreement in record.agreements:
        cases.update(agreement.deviating)
    entries = {entry.id: entry for entry in deviations}
    shown = seen.keys() | cases.keys()
    order = [name for name in entries if name in shown] + sorted(shown - entries.keys())
    return tuple(
        DeviationRow(name, entries.get(name), tuple(seen.get(name, ())), cases[name])
        for name in order
    )


@dataclass(frozen=True)
class MetricRow:
    """A metric over all implementations."""

    name: str
    values: tuple[float | None, ...]


def metric_rows(record: Record) -> tuple[MetricRow, ...]:
    """Every metric that any implementation has."""
    names = sorted({name for suite in record.suites for name in suite.metrics})
    return tuple(
        MetricRow(name, tuple(suite.metrics.get(name) for suite in record.suites)) for name in names
    )
