"""Clauses and known deviations, as the data files beside this module state them.

Each area of the documentation has a file of clauses and one of deviations; quantizers that were
not made for Core ML have a file of deviations each. A clause's source says
which documentation it states: "coremltools 9.0" where that is silent or contradicts itself. A
deviation's checks are expected to fail on exactly its versions; when one passes, the entry is out
of date and the run says so. Entries decided for coremltools are slips of the documentation: their
checks hold for everyone.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal, TypeVar

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

AREAS = ("weights", "activations", "torch-ptq", "linear-quantizer", "gptq")
"""The areas of the documentation, in the order they are shown."""

OTHER_QUANTIZERS = ("torch-fake-quantize", "torchao", "coreai-opt", "llm-compressor", "gptqmodel")
"""Implementations of others that have a file of deviations each, across all areas."""

_AREAS_OF_FILES = {
    "test_activation": "activations",
    "test_ptq": "torch-ptq",
    "test_lq_": "linear-quantizer",
    "test_linear_quantizer": "linear-quantizer",
    "test_gptq": "gptq",
}
"""How the names of an area's files begin; all others are about weights."""

Entry = TypeVar("Entry")


class Clause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One numbered statement of documented behaviour."""

    id: str
    text: str
    source: str


class Deviation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A known difference between documentation and an implementation.

    Attributes:
        id: short and stable.
        title: one sentence.
        implementation: the name of the one that deviates.
        versions: which of its versions, for example "==9.0".
        severity: A silently wrong numbers or a crash on ordinary input, B wrong behaviour with a
            way around, C documentation only.
        documented: what the documentation says.
        observed: what the implementation does.
        decision: what the clauses, and so the reference, follow: "docs", "coremltools" (the
            documentation slipped), "error" (refused with a clear error), or "absent" (these
            versions lack what a later one brought: its checks are unsupported, not failures).
        clauses: those concerned.
        checks: for all decisions but coremltools, checks that fail on these versions (a check's
            name stands for all its parameters); for decision coremltools, checks that hold it fast.
        checks_in: specifier -> checks that fail on that part of the versions, and pass on others.
        reproduction: Python that runs by itself and asserts what is observed.
        upstream: a link, where there is one.
    """

    id: str
    title: str
    implementation: str
    versions: str
    severity: Literal["A", "B", "C"]
    documented: str
    observed: str
    decision: Literal["docs", "coremltools", "error", "absent"]
    clauses: tuple[str, ...]
    checks: tuple[str, ...] = ()
    checks_in: dict[str, tuple[str, ...]] = {}
    reproduction: str
    upstream: str | None = None

    def applies_to(self, implementation: str, version: str) -> bool:
        """Whether this version of this implementation is the one that deviates."""
        return self.implementation == implementation and _contains(self.versions, version)

    def fails(self, check: str, version: str) -> bool:
        """Whether a check is expected to fail on one of the versions because of this."""
        names = {check, check.split("[", 1)[0]}
        return self.decision != "coremltools" and any(
            names & set(checks) and _contains(versions, version)
            for versions, checks in ((self.versions, self.checks), *self.checks_in.items())
        )

    def all_checks(self) -> set[str]:
        """The checks of all versions."""
        return set(self.checks).union(*self.checks_in.values())


@cache
def _contains(versions: str, version: str) -> bool:
    return SpecifierSet(versions).contains(Version(version), prereleases=True)


@cache
def load_clauses() -> tuple[Clause, ...]:
    """All clauses, in order."""
    return _load("clauses", AREAS, Clause)


@cache
def load_deviations() -> tuple[Deviation, ...]:
    """All known deviations, in order."""
    return _load("deviations", AREAS + OTHER_QUANTIZERS, Deviation)


@cache
def checks_of_files() -> dict[str, int]:
    """How many checks each file of the suite has.

    A run that executes fewer has not run the suite; a test of ours keeps the numbers true.
    """
    return msgspec.yaml.decode(_content("checks.yaml"), type=dict[str, int])


def check_count(area: str | None = None) -> int:
    """How many checks the suite has, or one area of it."""
    counts = checks_of_files().items()
    return sum(number for file, number in counts if area in (None, area_of_file(file)))


def area_of_file(file: str) -> str:
    """The area that a file of the suite is about, for example ``properties/test_codes.py``."""
    name = file.rsplit("/", 1)[-1]
    found = (area for start, area in _AREAS_OF_FILES.items() if name.startswith(start))
    return next(found, "weights")


def area_of_clause(clause: str) -> str | None:
    """The area that lists a clause."""
    return _areas_of_clauses().get(clause)


@cache
def _areas_of_clauses() -> dict[str, str]:
    return {
        clause.id: area
        for area in AREAS
        for clause in msgspec.yaml.decode(_content("clauses", f"{area}.yaml"), type=list[Clause])
    }


def _load(kind: str, names: tuple[str, ...], entry_type: type[Entry]) -> tuple[Entry, ...]:
    files = (_content(kind, f"{name}.yaml") for name in names)
    return tuple(
        entry
        for file in files
        for entry in msgspec.yaml.decode(file, type=list[entry_type])  # type: ignore[valid-type]
    )


def _content(*path: str) -> bytes:
    return resources.files(__package__).joinpath(*path).read_bytes()


def expected_failure(check: str, implementation: str, version: str) -> Deviation | None:
    """The deviation that makes a check fail on this implementation, if one is listed."""
    return next(
        (
            deviation
            for deviation in load_deviations()
            if deviation.applies_to(implementation, version) and deviation.fails(check, version)
        ),
        None,
    )
