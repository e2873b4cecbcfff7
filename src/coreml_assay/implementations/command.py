"""A program in any language, put under test through case folders.

Its failures, whatever they are, become the failure of the call they happen in.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from coreml_assay.implementations.case_folders import (
    PROTOCOL,
    Case,
    CommandError,
    DescribeCase,
    gptq_case,
    quantize_weight_case,
    read_description,
    read_result,
    write_case,
)
from coreml_assay.implementations.contained import Limits, run_contained
from coreml_assay.implementations.protocol import CalibratedWeightSpec, Unsupported, WeightSpec
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array

PREFIX = "command:"
MOST_HANGS = 3
"""After so many calls without an end a program is not started again."""
_SECONDS, _MEMORY, _CASES = (
    f"COREML_ASSAY_COMMAND_{name}" for name in ("SECONDS", "MEMORY", "CASES")
)


@attrs.frozen
class Options:
    """How a program is run.

    Attributes:
        seconds: a call may take.
        memory_mib: of address space a call may take, 0 for no limit.
        cases: a folder where case folders stay for a look at them; None to remove each.
    """

    seconds: float = 30
    memory_mib: int = 4096
    cases: Path | None = None

    @classmethod
    def from_environment(cls) -> Options:
        """Options as environment variables give them.

        Raises:
            CommandError: a value is not what the variable takes.
        """
        seconds = _number(_SECONDS, cls().seconds)
        memory = _number(_MEMORY, cls().memory_mib)
        if seconds == 0:
            raise CommandError(f"{_SECONDS} must be above 0")
        cases = os.environ.get(_CASES)
        return cls(seconds, int(memory), Path(cases) if cases else None)


class Command:
    """A program that answers case folders, as an implementation with the tensor face.

    Args:
        command: the program and its arguments, as a shell would split them; the path of the case
            folder comes last.
        options: how it is run.

    Attributes:
        name: as the program gives it.
        version: as the program gives it.

    Raises:
        CommandError: the program does not exist, cannot be run, or does not describe itself.
    """

    runs_elsewhere = True

    def __init__(self, command: str, options: Options) -> None:
        self._command = _split(command)
        self._options = options
        self._hangs = 0
        with self._folder() as folder:
            self._answer(folder, DescribeCase(protocol=PROTOCOL))
            description = read_description(folder)
        self.name, self.version = description.name, description.version
        self._verbs = description.verbs

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        """Quantize a weight; see `TensorFace`.

        Raises:
            CommandError: the program does not answer, or not as the protocol asks.
        """
        if "quantize_weight" not in self._verbs:
            raise Unsupported(f"{self.name} has no quantize_weight")
        case = quantize_weight_case(spec)
        with self._folder() as folder:
            self._answer(folder, case, weight)
            return read_result(folder, case, weight.shape)

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        """Quantize a weight under calibration inputs; see `CalibratedTensorFace`.

        Raises:
            CommandError: the program does not answer, or not as the protocol asks.
        """
        if "gptq" not in self._verbs:
            raise Unsupported(f"{self.name} has no gptq")
        case = gptq_case(len(inputs), spec)
        with self._folder() as folder:
            self._answer(folder, case, weight, inputs)
            return read_result(folder, case, weight.shape)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A new case folder."""
        kept = self._options.cases
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            yield Path(tempfile.mkdtemp(prefix="case-", dir=kept))
            return
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def _answer(
        self, folder: Path, case: Case, weight: Array | None = None, inputs: Sequence[Array] = ()
    ) -> None:
        """Have the program answer a case.

        Raises:
            CommandError: it ended in another way than by itself, with exit code 0.
        """
        if self._hangs == MOST_HANGS:
            raise CommandError(
                f"not started again, for {MOST_HANGS} calls before had no result "
                f"after {self._options.seconds:g} s ({_SECONDS})"
            )
        write_case(folder, case, weight, inputs)
        size = sum(array.nbytes for array in ([] if weight is None else [weight, *inputs]))
        limits = Limits(self._options.seconds, self._options.memory_mib, _file_limit_mib(size))
        try:
            ending = run_contained([*self._command, str(folder)], limits, folder / "output.txt")
        except OSError as error:
            raise CommandError(f"cannot be started: {error.strerror}") from error
        self._hangs += ending.hung
        if ending.fault:
            raise CommandError(ending.fault)


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"cannot be split into words: {error}") from error
    if not words:
        raise CommandError("there is no program; write command:PROGRAM")
    if shutil.which(words[0]) is None:
        wrong = "is not executable" if Path(words[0]).is_file() else "does not exist"
        raise CommandError(f"the program {words[0]} {wrong}")
    return words


def _file_limit_mib(size: int) -> int:
    """More than any answer to so many bytes can need."""
    return 64 + 4 * math.ceil(size / 2**20)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise CommandError(f"{variable} must be a number from 0 on, got {text!r}")
    return value
