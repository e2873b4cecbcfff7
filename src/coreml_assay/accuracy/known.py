"""Losses of accuracy that are known: which version of what, where, and why.

A listed loss is expected, strictly: once it is gone, the gate asks for the entry's removal.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
from packaging.specifiers import SpecifierSet


@attrs.frozen
class KnownLoss:
    """One known loss.

    Attributes:
        implementation, versions: whose.
        models: names; none for all.
        configurations: names.
        deviation: the id of the suite's entry that is the cause.
        reason: that cause in a few words.
    """

    implementation: str
    versions: str
    models: Collection[str]
    configurations: Collection[str]
    deviation: str
    reason: str


_LAST_SAMPLE = ("last-sample-only", "calibration keeps only the last sample's ranges")
_FLOAT32 = ("float32-programs", "float32 programs get float16 scales, which quantize refuses")
KNOWN_LOSSES = (
    KnownLoss("coremltools", "==9.0", ("digits CNN",), ("W8A8, faint last sample",), *_LAST_SAMPLE),
    KnownLoss("coremltools", "==9.0", ("MTCNN R-Net",), ("W8A8",), *_LAST_SAMPLE),
    KnownLoss("coremltools", "==9.0", ("basic-pitch",), ("W8A8", "W4A8"), *_FLOAT32),
)


def known_loss(implementation: str, version: str, model: str, configuration: str) -> str:
    """Why this loss is known; empty where it is not."""
    return next(
        (
            f"{each.reason} (deviation {each.deviation})"
            for each in KNOWN_LOSSES
            if each.implementation == implementation
            and SpecifierSet(each.versions).contains(version, prereleases=True)
            and (not each.models or model in each.models)
            and configuration in each.configurations
        ),
        "",
    )
