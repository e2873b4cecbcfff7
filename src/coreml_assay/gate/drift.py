"""What changed from one version of an implementation to another: outcomes, numbers, programs.

Three sources: the deviations listed for each version, the goldens frozen for each, and, where a
record holds a suite of both, the outcomes of its checks. Nothing is judged here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
import numpy as np
from packaging.version import InvalidVersion, Version

from coreml_assay.conformance.registry import AREAS, load_deviations
from coreml_assay.goldens.store import FROZEN, Goldens, frozen_goldens
from coreml_assay.numerics.blocks import Array
from coreml_assay.records import SuiteRun


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that changed, with the smallest example of it.

    Attributes:
        kind: of what changed.
        what: a deviation and its clauses, a clause and its outcomes, or an area and its field.
        count: how many of them.
        of: how many there are in both versions, or in the one that has them.
        example: in words, a line or more.
    """

    kind: Literal["deviation", "outcome", "cases", "numbers", "programs"]
    what: str
    count: int
    of: int
    example: str


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """All that changed between two versions, and what was compared to find it."""

    old: str
    new: str
    compared: tuple[str, ...]
    changes: tuple[Change, ...]


class DriftError(ValueError):
    """Two versions of which there is nothing to compare; the message is one line."""


def drift(old: str, new: str, suites: Sequence[SuiteRun] = ()) -> Drift:
    """Compare two versions.

    Args:
        old: for example ``coremltools-8.0``.
        new: the same.
        suites: of any implementations; those of both versions are compared.

    Raises:
        DriftError: a version has neither goldens nor a suite.
        GoldenError: frozen files were changed.
    """
    runs = {f"{run.implementation}-{run.version}": run for run in suites}
    known = {name.rpartition("/")[0] for name in FROZEN} | runs.keys()
    for name in (old, new):
        if name not in known:
            raise DriftError(
                f"{name}: nothing is known of it; known are {', '.join(sorted(known))}"
            )
    changes = list(_deviations(old, new))
    compared = ["listed deviations"]
    for area in AREAS:
        names = [name for name in (f"{old}/{area}", f"{new}/{area}") if name in FROZEN]
        goldens = [frozen_goldens(name) for name in names]
        if len(goldens) == 2:
            changes += _goldens(area, *goldens)
            compared.append(f"goldens of {area}")
        elif goldens:
            cases = _cases(*goldens)
            changes.append(
                Change(
                    kind="cases",
                    what=f"{area}: all cases {'new' if names == [f'{new}/{area}'] else 'lost'}",
                    count=len(cases),
                    of=len(cases),
                    example=min(cases),
                )
            )
    if old in runs and new in runs:
        changes += _outcomes(runs[old], runs[new])
        compared.append("outcomes of checks")
    return Drift(old=old, new=new, compared=tuple(compared), changes=tuple(changes))


def drifts(suites: Sequence[SuiteRun]) -> list[Drift]:
    """From each version of an implementation among the suites to the next one there.

    Raises:
        GoldenError: frozen files were changed.
    """
    versions: dict[str, set[str]] = defaultdict(set)
    for run in suites:
        versions[run.implementation].add(run.version)
    return [
        drift(f"{name}-{old}", f"{name}-{new}", suites)
        for name, found in versions.items()
        for old, new in pairwise(sorted(found, key=_order))
    ]


def _order(version: str) -> tuple[bool, Version, str]:
    """Sorts versions; one that is not numbered as Python's are comes first."""
    try:
        return True, Version(version), ""
    except InvalidVersion:
        return False, Version("0"), version


def _deviations(old: str, new: str) -> Iterator[Change]:
    before, after = (name.rpartition("-") for name in (old, new))
    for entry in load_deviations():
        had, has = entry.applies_to(before[0], before[2]), entry.applies_to(after[0], after[2])
        if had != has and entry.decision != "coremltools":
            word = "came" if has else "went"
            clauses = ", ".join(entry.clauses)
            yield Change(
                kind="deviation",
                what=f"{word}: {entry.id} ({clauses})",
                count=1,
                of=1,
                example=entry.title,
            )


def _outcomes(old: SuiteRun, new: SuiteRun) -> Iterator[Change]:
    before = {check.check: check for check in old.checks}
    totals: Counter[str] = Counter()
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for check in new.checks:
        if check.check in before:
            was = before[check.check].outcome
            totals.update(check.clauses)
            for clause in check.clauses if was is not check.outcome else ():
                found[clause, was.value, check.outcome.value].append(check.check)
    for (clause, then, now), checks in found.items():
        yield Change(
            kind="outcome",
            what=f"{clause}: {then} -> {now}",
            count=len(checks),
            of=totals[clause],
            example=min(checks, key=lambda name: (len(name), name)),
        )


def _goldens(area: str, old: Goldens, new: Goldens) -> Iterator[Change]:
    before, after = _cases(old), _cases(new)
    for word, more, fewer in (("lost", before, after), ("new", after, before)):
        names = sorted(more.keys() - fewer.keys())
        if names:
            yield Change(
                kind="cases",
                what=f"{area}: {word} cases",
                count=len(names),
                of=len(more),
                example=names[0],
            )
    yield from _programs(area, before, after)
    alone = before.keys() ^ after.keys()
    yield from _numbers(area, old.arrays, new.arrays, alone)


def _cases(goldens: Goldens) -> dict[str, Any]:
    """All cases of an area by name."""
    cases: dict[str, Any] = {}
    for kind in goldens.cases.__struct_fields__:
        for case in getattr(goldens.cases, kind):
            name = case.name if hasattr(case, "name") else f"{case.model}, {case.configuration}"
            cases[name] = case
    return cases


def _texts(case: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What describes a case in lines: its programs and graphs."""
    for field in ("description", "placement", "program", "refusal"):
        lines = getattr(case, field, ())
        yield field, (lines,) if isinstance(lines, str) else lines
    for each in getattr(case, "quantized", ()):
        yield f"{each.mode} {each.dtype}", each.lines


def _programs(area: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    different: list[tuple[int, str, str]] = []
    total = 0
    for name in before.keys() & after.keys():
        for (field, old), (_, new) in zip(_texts(before[name]), _texts(after[name]), strict=True):
            total += bool(old or new)
            if old != new:
                lines = max(len(old), len(new))
                different.append((lines, f"{name}, {field}", _first_difference(old, new)))
    if different:
        _, where, example = min(different)
        yield Change(
            kind="programs",
            what=f"{area}: lines of programs",
            count=len(different),
            of=total,
            example=f"{where}: {example}",
        )


def _first_difference(old: Sequence[str], new: Sequence[str]) -> str:
    length = max(len(old), len(new))
    for index in range(length):
        was = old[index] if index < len(old) else "nothing"
        now = new[index] if index < len(new) else "nothing"
        if was != now:
            return f"line {index}\n- {was}\n+ {now}"
    raise AssertionError("equal lines have no difference")


def _numbers(
    area: str, old: dict[str, Array], new: dict[str, Array], alone: set[str]
) -> Iterator[Change]:
    different: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    totals: Counter[str] = Counter()
    for name in sorted(old.keys() | new.keys()):
        if any(name.startswith((f"{case}.", f"{case}/")) for case in alone):
            continue
        field = name.rpartition(".")[2]
        totals[field] += 1
        was, now = old.get(name), new.get(name)
        example = _different_values(was, now)
        if example:
            size = min(array.size for array in (was, now) if array is not None)
            different[field].append((size, name, example))
    for field, found in different.items():
        _, name, example = min(found)
        yield Change(
            kind="numbers",
            what=f"{area}: {field}",
            count=len(found),
            of=totals[field],
            example=f"{name}: {example}",
        )


def _different_values(old: Array | None, new: Array | None) -> str:
    """The first difference of two arrays in words; empty if they are the same to the bit."""
    if old is None or new is None:
        return "none before" if old is None else "none any more"
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype}{list(old.shape)} became {new.dtype}{list(new.shape)}"
    unsigned = np.dtype(f"u{old.dtype.itemsize}")
    places = np.argwhere(old.view(unsigned) != new.view(unsigned))
    if not len(places):
        return ""
    where = tuple(places[0].tolist())
    return f"{old[where]!s} became {new[where]!s} at {list(where)}, {len(places)} of {old.size}"
