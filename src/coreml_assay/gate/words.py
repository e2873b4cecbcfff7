"""How figures and foreign text are worded: one place, so that every report says the same.

A figure that was not measured is those two words everywhere; text from a record is made safe to
print here, and escaped by whoever knows the format it goes into.
"""

from __future__ import annotations

import math

from coreml_assay.timing.intervals import Interval

NOT_MEASURED = "not measured"

# What XML 1.0 cannot hold even escaped: most control characters, surrogates, two noncharacters.
# Terminals and log viewers act on the same control characters, so no output gets them.
_UNPRINTABLE = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        *range(0xD800, 0xE000),
        0xFFFE,
        0xFFFF,
    )
    if code not in (0x09, 0x0A)
}
_UNPRINTABLE[0x0D] = "\n"


def block(text: str) -> str:
    """Text of any number of lines without characters that a terminal or XML cannot take."""
    return text.replace("\r\n", "\n").translate(_UNPRINTABLE)


def one_line(text: str) -> str:
    """The same on one line: any run of white space becomes a space."""
    return " ".join(block(text).split())


def first_line(text: str) -> str:
    """The first line of a check's detail: one sentence by the record's convention."""
    lines = block(text).strip().splitlines()
    return one_line(lines[0]) if lines else ""


def later_lines(text: str) -> str:
    """What follows the first line of a check's detail: a snippet that runs, or nothing."""
    lines = block(text).strip().splitlines()
    return "\n".join(lines[1:]).strip("\n")


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 check", "1,200 checks"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number_of_bytes: int) -> str:
    """A size in decimal units; a record writes 0 for a size that was not measured."""
    if number_of_bytes <= 0:
        return NOT_MEASURED
    if number_of_bytes < 1000:
        return count(number_of_bytes, "byte")
    value = float(number_of_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value:,.0f} GB"


def figure(value: float | None, unit: str = "", digits: int = 2) -> str:
    """A measured figure with its unit, or the words for none."""
    if value is None:
        return NOT_MEASURED
    return f"{value:,.{digits}f} {unit}".rstrip()


def metric(value: float | None) -> str:
    """A deterministic metric: exact as far as six digits go, since it is gated exactly."""
    if value is None:
        return NOT_MEASURED
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def ratio_words(interval: Interval) -> str:
    """A ratio with its interval: "1.15 (1.12 to 1.18) times"."""
    if not math.isfinite(interval.high):
        return f"{interval.ratio:.3g} (too few pairs for an interval) times"
    return f"{interval.ratio:.3g} ({interval.low:.3g} to {interval.high:.3g}) times"
