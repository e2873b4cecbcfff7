"""Programs under test by the command protocol: the example in C, and programs that go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from coreml_assay.conformance.runner import pytest_arguments
from coreml_assay.records import CheckResult

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs/examples/plain_c.c"
COMPILER = shutil.which("cc")


def compiled(folder: Path, name: str = "plain_c", *options: str) -> Path:
    """The example in C, built as its first lines say, with more options."""
    if COMPILER is None:
        pytest.skip("no C compiler (cc), so the example in C cannot be built")
    program = folder / name
    subprocess.run(
        [COMPILER, "-O2", "-ffp-contract=off", *options, "-o", program, SOURCE, "-lm"],
        check=True,
    )
    return program


def script(folder: Path, name: str, text: str, interpreter: str = "/bin/sh") -> Path:
    """An executable script."""
    program = folder / name
    program.write_text(f"#!{interpreter}\n{text}\n")
    program.chmod(0o755)
    return program


def wrapped(folder: Path, good: Path, then: str, name: str = "wrapped") -> Path:
    """A program that describes itself well, and does something else when asked to quantize.

    Args:
        folder: where it is written.
        good: a program that does well.
        then: lines of shell; ``$case`` is the case folder, ``answer`` has the good program answer.
        name: of the program.
    """
    text = f"""\
for case; do :; done
answer() {{ {good} "$case"; }}
if grep -q '"describe"' "$case/case.json"; then answer; exit; fi
{then}"""
    return script(folder, name, text)


def python_lines(lines: str) -> str:
    """A line of shell that runs lines of Python in a new interpreter, with nothing imported."""
    return f"exec {sys.executable} -S -E -c '{lines}'"


def suite_results(folder: Path, name: str, *options: str, part: str = "") -> list[CheckResult]:
    """The results of the suite's checks of an implementation.

    Args:
        folder: for the results; also searched for modules.
        name: of the implementation.
        options: more of pytest's.
        part: a module of the suite, if only its checks are wanted.
    """
    suite, results = "coreml_assay.conformance", folder / "results.jsonl"
    arguments = pytest_arguments(name, 0, "quick", results)
    if part:
        arguments = [f"{suite}.{part}" if each == suite else each for each in arguments]
    subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)},
        capture_output=True,
        check=False,
    )
    lines = results.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=CheckResult) for line in lines]
