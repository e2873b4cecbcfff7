"""Losses of accuracy that are known: which version of what, where, and why.

A listed loss is expected, strictly: once it is gone, the gate asks for the entry's removal.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
from packaging.specifiers import SpecifierSet


@attrs.frozen
class KnownLoss:
    """One known loss, by implementation, models (none: all) and configurations."""

    implementation: str
    versions: str
    models: Collection[str]
    configurations: Collection[str]
    reason: str


_LAST_SAMPLE = "calibration keeps only the last sample's ranges (coremltools issue 2704)"
KNOWN_LOSSES = (
    KnownLoss(
        "coremltools",
        "==9.0",
        ("digits CNN",),
        ("W8A8, faint last sample",),
        _LAST_SAMPLE,
    ),
    KnownLoss(
        "coremltools",
        "==9.0",
        ("MTCNN R-Net",),
        ("W8A8",),
        _LAST_SAMPLE,
    ),
    KnownLoss(
        "coremltools",
        "==9.0",
        ("basic-pitch",),
        ("W8A8", "W4A8"),
        "float32 programs get float16 scales, which quantize refuses",
    ),
)


def known_loss(implementation: str, version: str, model: str, configuration: str) -> str:
    """Why this loss is known; empty where it is not."""
    return next(
        (
            each.reason
            for each in KNOWN_LOSSES
            if each.implementation == implementation
            and SpecifierSet(each.versions).contains(version, prereleases=True)
            and (not each.models or model in each.models)
            and configuration in each.configurations
        ),
        "",
    )
