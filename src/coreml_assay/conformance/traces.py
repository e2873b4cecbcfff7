"""What a process that runs the suite leaves behind: results, and beside them what explains them.

Beside ``results.jsonl`` lie ``results.planned.jsonl``, all checks there were to run, and
``results.tested.json``, who was tested. A process that crashes leaves them all, up to that point.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from coreml_assay.files import write_bytes
from coreml_assay.records import CheckResult

PARENT_VARIABLE = "COREML_ASSAY_PARENT"
_LOOK_EVERY_SECONDS = 1.0


class Tested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who was tested, as the process that did so found it."""

    implementation: str = ""
    version: str = ""
    metrics: dict[str, float] = {}
    error: str | None = None  # why it could not be loaded, one line


def append_result(results: Path, result: str) -> None:
    """Add the JSON of one check's result."""
    with results.open("a", encoding="utf-8") as file:
        file.write(f"{result}\n")


def write_planned(results: Path, checks: Iterable[CheckResult]) -> None:
    """Write which checks there are to run."""
    lines = b"".join(msgspec.json.encode(check) + b"\n" for check in checks)
    write_bytes(results.with_suffix(".planned.jsonl"), lines)


def write_tested(results: Path, tested: Tested) -> None:
    """Write who is tested."""
    write_bytes(results.with_suffix(".tested.json"), msgspec.json.encode(tested))


def read_results(results: Path) -> list[CheckResult]:
    """Read the results there are, in the order they came."""
    return _read_lines(results)


def read_planned(results: Path) -> list[CheckResult]:
    """Read the checks there were to run, in order; none if the process did not get that far."""
    return _read_lines(results.with_suffix(".planned.jsonl"))


def read_tested(results: Path) -> Tested | None:
    """Read who was tested; None if the process did not get that far."""
    path = results.with_suffix(".tested.json")
    return msgspec.json.decode(path.read_bytes(), type=Tested) if path.exists() else None


def count_results(results: Path) -> int:
    """How many results there are by now."""
    return results.read_bytes().count(b"\n") if results.exists() else 0


def _read_lines(path: Path) -> list[CheckResult]:
    if not path.exists():
        return []
    # A process that was killed may leave its last line unfinished.
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=CheckResult) for line in lines]


def end_with_parent() -> None:
    """Have this process end when the one that started it has, if that said it should.

    Whoever ends a cluster's worker or a pool ends one process, and not what that has started.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_LOOK_EVERY_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
