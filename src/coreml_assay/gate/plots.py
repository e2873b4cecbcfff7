"""Signal-to-noise against size, as an SVG picture for the report, drawn by matplotlib.

The same record gives the same bytes. Colours are variables that follow the reader's light or dark
setting; what a colour says a mark and a word say, too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

from coreml_assay.gate.model_tables import AccuracyGroup
from coreml_assay.gate.outputs import loses, worst_snr
from coreml_assay.gate.words import one_line
from coreml_assay.records import AccuracyRun

_WIDTH, _LEAST_HEIGHT = 6.4, 3.6  # inches
_LINE = 0.22  # inches between two labels
_LONGEST = 42  # characters of a label
_BOTTOM, _HEIGHT = 0.14, 0.82  # of the axes, as shares of the picture
# What matplotlib is given for a colour, the variable it becomes, and that in light and in dark.
_COLOURS = {
    "#010101": ("ink", "#1c1d1f", "#e6e6e3"),
    "#020202": ("quiet", "#5d6168", "#a0a4ab"),
    "#030303": ("line", "#dcddd8", "#34373c"),
    "#040404": ("good", "#17693a", "#7fd29b"),
    "#050505": ("known", "#7a4d00", "#f0c674"),
}
_INK, _QUIET, _LINES, _GOOD, _KNOWN = _COLOURS
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "coreml-assay",  # or names inside the file would differ each time
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9,
}

_Point = tuple[float, float, str, bool]  # size in kB, dB, label, whether it is a known loss


def signal_to_noise(group: AccuracyGroup) -> str | None:
    """A model's worst outputs over the sizes of its packages, as a ``data:`` address.

    Args:
        group: the runs of one model; those without a ratio or a size have no place in it.

    Returns:
        None where no run has one.
    """
    found = _points(group.runs)
    if not found:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        inches = max(_LEAST_HEIGHT, len(found) * _LINE / _HEIGHT)
        figure = Figure(figsize=(_WIDTH, inches))
        axes = figure.add_axes((0.09, _BOTTOM, 0.43, _HEIGHT))
        axes.set_xlabel("size of the package, kB", color=_QUIET)
        axes.set_ylabel("SNR of the worst output, dB", color=_QUIET)
        axes.tick_params(colors=_QUIET)
        axes.grid(color=_LINES, linewidth=0.8)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_QUIET)
        axes.margins(0.08, 0.1)
        for x, y, _, known in found:
            marker, colour = ("x", _KNOWN) if known else ("o", _GOOD)
            axes.plot([x], [y], marker=marker, color=colour, markersize=6, linestyle="none")
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        low, high = axes.get_ylim()
        line = _LINE / (inches * _HEIGHT)
        heights = _apart([(y - low) / (high - low) for _, y, _, _ in found], line)
        for (x, y, label, known), height in zip(found, heights, strict=True):
            axes.annotate(
                label,
                (x, y),
                xytext=(1.06, height),
                textcoords="axes fraction",
                verticalalignment="center",
                color=_KNOWN if known else _INK,
                arrowprops={
                    "arrowstyle": "-",
                    "color": _QUIET,
                    "linewidth": 0.5,
                    "relpos": (0, 0.5),
                    "shrinkB": 4,
                },
            )
        content = io.StringIO()
        figure.savefig(
            content,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None},
        )
    return "data:image/svg+xml;base64," + base64.b64encode(_themed(content.getvalue())).decode()


def _points(runs: Sequence[AccuracyRun]) -> list[_Point]:
    """From the top down; implementations whose figures are the same share a point."""
    shown: dict[str, dict[tuple[float, float, bool], list[str]]] = {}
    for run in runs:
        ratio = worst_snr(run.outputs)
        if run.error is None and run.bytes and ratio is not None:
            place = run.bytes / 1000, ratio, bool(run.known and loses(run))
            names = shown.setdefault(run.configuration, {}).setdefault(place, [])
            names.append(run.implementation)
    points = []
    for configuration, places in shown.items():
        for (x, y, known), names in places.items():
            who = f", {', '.join(names)}" if len(places) > 1 else ""
            points.append(
                (x, y, shorten(one_line(f"{configuration}{who}"), _LONGEST, placeholder="…"), known)
            )
    return sorted(points, key=lambda point: -point[1])


def _apart(heights: Sequence[float], line: float) -> list[float]:
    """Heights from the top down, moved until they are a line apart and none is below 0."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - line) if placed else height)
    floor = 0.0
    for index in reversed(range(len(placed))):
        placed[index] = max(placed[index], floor)
        floor = placed[index] + line
    return placed


def _themed(svg: str) -> bytes:
    """The picture with its colours as variables, light and dark."""
    values = list(_COLOURS.values())
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in pairs)
        for pairs in (
            [(name, light) for name, light, _ in values],
            [(name, dark) for name, _, dark in values],
        )
    )
    style = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
    for given, (name, _, _) in _COLOURS.items():
        svg = svg.replace(given, f"var(--{name})")
    return svg.replace("<defs>", f"<style>{style}</style>\n <defs>", 1).encode()
