"""A comparison: both sides asked in turns, pair by pair, from processes started several times.

What slows the machine down for a while slows both halves of a pair; what one process got by
chance, such as where its memory lies, changes with the next start.
"""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

import coreml_assay
from coreml_assay.timing.records import Machine, Pair, SideFacts, TimeRecord, Workload
from coreml_assay.timing.sides import Side, SideProcess, TimingError

Progress = Callable[[str, int, int], None]  # stage, done, total
Settled = Callable[[Sequence[Pair]], bool]


@attrs.frozen
class Effort:
    """How much is measured.

    Attributes:
        starts: how often both processes are started anew, at most.
        pairs: of each workload, for each start.
        sample_seconds: CPU time that one half of a pair is to take, as several calls if need be.
    """

    starts: int
    pairs: int = 20
    sample_seconds: float = 0.01


@attrs.define
class _Found:
    """A workload while it is being measured."""

    name: str
    pairs: list[Pair] = attrs.field(factory=list)
    metrics: dict[str, dict[str, float]] = attrs.field(factory=dict)
    problems: dict[str, str] = attrs.field(factory=dict)

    def as_workload(self) -> Workload:
        return Workload(
            name=self.name,
            # A side that failed later on has no figures at all.
            pairs=() if self.problems else tuple(self.pairs),
            before_metrics=self.metrics.get("before"),
            after_metrics=self.metrics.get("after"),
            before_problem=self.problems.get("before", ""),
            after_problem=self.problems.get("after", ""),
        )


def compare(
    before: Side,
    after: Side,
    workloads: Sequence[str],
    *,
    seed: int,
    settled: Settled,
    progress: Progress,
    effort: Effort,
) -> TimeRecord:
    """Measure two sides against each other.

    Ctrl-C ends the comparison and keeps what was measured.

    Args:
        before: what is compared with.
        after: what is judged.
        workloads: names from the worker.
        seed: of the order in which sides are started, and of the order within each pair.
        settled: whether a workload's pairs decide, so that another start can do without it; asked
            after each start.
        progress: told the stage, what is done and what there is to do.
        effort: how much to measure.

    Raises:
        TimingError: a side cannot be started at all.
    """
    found = [_Found(name) for name in workloads]
    order = random.Random(seed)
    facts: dict[str, SideFacts] = {}
    interrupted = False
    try:
        for start in range(effort.starts):
            left = [each for each in found if not each.problems and not settled(each.pairs)]
            if not left:
                break
            _one_start(before, after, left, start, order, effort, facts, progress)
    except KeyboardInterrupt:
        if len(facts) < 2:
            raise
        interrupted = True
    return TimeRecord(
        tool_version=coreml_assay.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seed=seed,
        machine=_machine(),
        before=facts["before"],
        after=facts["after"],
        workloads=tuple(each.as_workload() for each in found),
        interrupted=interrupted,
    )


def _one_start(
    before: Side,
    after: Side,
    workloads: Sequence[_Found],
    start: int,
    order: random.Random,
    effort: Effort,
    facts: dict[str, SideFacts],
    progress: Progress,
) -> None:
    with ExitStack() as stack:
        named = [("before", before), ("after", after)]
        order.shuffle(named)  # who comes first can get the better memory
        sides = {name: stack.enter_context(SideProcess(side)) for name, side in named}
        for name, process in sides.items():
            facts[name] = _facts(process)
        for position, workload in enumerate(workloads):
            progress(f"start {start + 1} of at most {effort.starts}", position, len(workloads))
            try:
                _one_workload(sides, workload, start, order, effort)
            except TimingError:
                return  # a process has ended; the other workloads have further starts
        progress(f"start {start + 1} of at most {effort.starts}", len(workloads), len(workloads))


def _facts(process: SideProcess) -> SideFacts:
    side = process.side
    return SideFacts(
        name=side.name,
        implementation=side.implementation,
        revision=side.revision,
        **process.facts(),
    )


def _one_workload(
    sides: dict[str, SideProcess],
    found: _Found,
    start: int,
    order: random.Random,
    effort: Effort,
) -> None:
    ready = {name: _asked(side, found, name, "ready") for name, side in sides.items()}
    if not found.problems:
        found.metrics = {name: answer["metrics"] for name, answer in ready.items()}
        seconds = min(answer["seconds"] for answer in ready.values())
        calls = max(1, round(effort.sample_seconds / max(seconds, 1e-9)))
        for _ in range(effort.pairs):
            pair = _one_pair(sides, found, start, calls, before_first=order.random() < 0.5)
            if pair is None:
                return
            found.pairs.append(pair)
        for name, side in sides.items():
            _asked(side, found, name, "drop")


def _one_pair(
    sides: dict[str, SideProcess], found: _Found, start: int, calls: int, *, before_first: bool
) -> Pair | None:
    names = ("before", "after") if before_first else ("after", "before")
    times = {name: _asked(sides[name], found, name, "time", calls=calls) for name in names}
    if found.problems:
        return None
    return Pair(
        start=start,
        before_first=before_first,
        calls=calls,
        before_cpu=times["before"]["cpu"],
        after_cpu=times["after"]["cpu"],
        before_wall=times["before"]["wall"],
        after_wall=times["after"]["wall"],
    )


def _asked(
    process: SideProcess, found: _Found, name: str, do: str, **arguments: Any
) -> dict[str, Any]:
    """An answer; a problem in it is written down, and so is the end of the process."""
    try:
        answer = process.ask(do, workload=found.name, **arguments)
    except TimingError as error:
        found.problems[name] = f"error: {error}"
        raise
    for kind in ("error", "unsupported"):
        if kind in answer:
            found.problems[name] = f"{kind}: {answer[kind]}"
    return answer


def _machine() -> Machine:
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        platform=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        python=platform.python_version(),
    )


def _cpu() -> str:
    """The processor's model name, or as much as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
