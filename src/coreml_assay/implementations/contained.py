"""A program run once within limits, so that whatever it does costs one call and no more.

It gets a session of its own, ended whole when the call is over. The limits are set by a shell
that then becomes the program, because a large process with threads is neither quick nor safe
to set them in between fork and exec.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs

_PATIENCE_SECONDS = 0.2  # for processes that end just after the program that started them
_NEARLY = 0.75  # a program that had this much of its memory, and failed, wanted more
_SAID = 160  # characters of a program's last words
_WORDS_FOR_MEMORY = re.compile(
    r"out ?of ?memory|(cannot|could not|failed to) allocate|allocation failed|bad_alloc"
    r"|memory ?error|memory allocation of",
    re.IGNORECASE,
)
_LAUNCH = """\
ulimit -c 0
ulimit -f {blocks}
{memory}
exec "$@"
"""


@attrs.frozen
class Limits:
    """What one call of a program may take.

    Attributes:
        seconds: until it is killed.
        memory_mib: of address space, in MiB; 0 for no limit. Only Linux holds to it.
        file_mib: the largest file it may write, in MiB.
    """

    seconds: float
    memory_mib: int
    file_mib: int


@attrs.frozen
class Ending:
    """How a call of a program ended.

    Attributes:
        exit_code: negative for the signal that killed it.
        hung: it was killed because its time was over.
        left_behind: it had started processes that went on; they were killed.
        peak_mib: the most memory it had at once, 0 if not known.
        said: the end of its output, on one line.
        limits: those it ran within.
    """

    exit_code: int
    hung: bool
    left_behind: bool
    peak_mib: float
    said: str
    limits: Limits

    @property
    def fault(self) -> str | None:
        """What went wrong, in one line; None if nothing did."""
        if self.hung:
            return f"no result after {self.limits.seconds:g} s, so it was killed{self._last_words}"
        if self.exit_code:
            return f"{self._how_it_died}{self._why_memory}{self._last_words}"
        if self.left_behind:
            return f"it left processes running, which were killed{self._last_words}"
        return None

    @property
    def _how_it_died(self) -> str:
        if self.exit_code > 0:
            return f"exit code {self.exit_code}"
        number = -self.exit_code
        names = {each.value: each.name for each in signal.Signals}
        died = f"killed by signal {number} ({names.get(number, 'unknown')})"
        if number == signal.SIGXFSZ:
            return f"{died}: it wrote a file of more than {self.limits.file_mib} MiB"
        return died

    @property
    def _why_memory(self) -> str:
        limit = self.limits.memory_mib
        wanted_more = limit and self.peak_mib >= _NEARLY * limit
        if not (wanted_more or _WORDS_FOR_MEMORY.search(self.said)):
            return ""
        return f": out of memory, of which it may have {limit} MiB" if limit else ": out of memory"

    @property
    def _last_words(self) -> str:
        return f"; it said: {self.said}" if self.said else ""


def run_contained(command: Sequence[str], limits: Limits, output: Path) -> Ending:
    """Run a program to its end, or to the end of its time.

    Args:
        command: the program, which must exist, and its arguments.
        limits: what it may take.
        output: a file for what it writes to standard output and standard error.

    Raises:
        OSError: no process can be started.
    """
    process = start(command, limits, output, subprocess.DEVNULL)
    hung = threading.Event()

    def end() -> None:
        hung.set()
        _kill_group(process.pid)

    timer = threading.Timer(limits.seconds, end)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        timer.cancel()
        left_behind = not hung.is_set() and process.returncode == 0 and _goes_on(process.pid)
        _kill_group(process.pid)
        process.wait()
    return Ending(
        exit_code=process.returncode,
        hung=hung.is_set(),
        left_behind=left_behind,
        peak_mib=_peak_mib(usage),
        said=last_words(output),
        limits=limits,
    )


def start(
    command: Sequence[str], limits: Limits, output: Path, stdin: int
) -> subprocess.Popen[bytes]:
    """Start a program within limits, the leader of a process group of its own."""
    limited = sys.platform == "linux" and limits.memory_mib
    script = _LAUNCH.format(
        blocks=limits.file_mib * 2048,
        memory=f"ulimit -v {limits.memory_mib * 1024}" if limited else "",
    )
    with output.open("wb") as file:
        return subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *command],
            stdin=stdin,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def last_words(output: Path) -> str:
    """The end of a program's output on one line of printable characters."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - 4 * _SAID))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    said = " ".join(words)
    return said if len(said) <= _SAID else f"... {said[-_SAID:]}"


def _goes_on(group: int) -> bool:
    """Whether a process group outlives its leader."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(_PATIENCE_SECONDS / 20)
    return True


def _kill_group(group: int) -> None:
    # On macOS a group of processes that have all ended cannot be signalled.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _peak_mib(usage: resource.struct_rusage) -> float:
    """A process's largest memory, if it is its own: fork passes on what the parent had."""
    unit = 1 if sys.platform == "darwin" else 1024
    if usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        return 0.0
    return usage.ru_maxrss * unit / 2**20
