"""The two sides of a comparison: each a process that stays, and answers one question at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

_WORKER = Path(__file__).with_name("worker.py")
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


class TimingError(RuntimeError):
    """A comparison that cannot be made at all; the message is one line."""


@attrs.frozen
class Side:
    """What to measure.

    Attributes:
        name: for reports.
        implementation: a name, ``module:object`` or ``command:PROGRAM``.
        source: the folder to import coreml_assay from, or None for the installed one.
        revision: the commit that ``source`` was exported from.
    """

    name: str
    implementation: str
    source: Path | None = None
    revision: str = ""


class SideProcess:
    """A running worker; use it in a with statement, which ends it."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - __exit__ closes it
        paths = [str(side.source)] if side.source else []
        paths += [path for path in sys.path if path]
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), side.implementation],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={
                **os.environ,
                **_ONE_THREAD,
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONHASHSEED": "0",
                "TQDM_DISABLE": "1",
            },
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers
        )

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def facts(self) -> dict[str, Any]:
        """What the worker says of itself when it has started.

        Raises:
            TimingError: the implementation cannot be loaded, or is not of the revision asked for.
        """
        found = self._read()
        if "error" in found:
            raise TimingError(found["error"])
        package = Path(found.pop("package"))
        if self.side.source is not None and not package.is_relative_to(self.side.source):
            raise TimingError(f"{self.side.name}: coreml_assay was imported from {package}")
        return found

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One request, and its answer.

        Raises:
            TimingError: the process has ended.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # reading says what there is to say
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().split("\n")[-1]
            raise TimingError(f"{self.side.name}: its process ended with {status}: {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer
