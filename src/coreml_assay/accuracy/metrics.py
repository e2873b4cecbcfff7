"""How far outputs are from what they should be: figures over all samples together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from coreml_assay.records import OutputError

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]


def output_errors(expected: Sequence[Outputs], found: Sequence[Outputs]) -> tuple[OutputError, ...]:
    """Compare the outputs of two models on the same samples, output by output.

    Args:
        expected: for each sample, output name to array.
        found: the same from the other model; arrays of the same shapes.

    Returns:
        Figures for each output, signal and noise summed over all samples before they are divided.
    """
    return tuple(
        output_error(
            name,
            np.concatenate([np.ravel(sample[name]) for sample in expected]),
            np.concatenate([np.ravel(sample[name]) for sample in found]),
        )
        for name in expected[0]
    )


def output_error(name: str, expected: Array, found: Array) -> OutputError:
    """Compare two vectors; with a value that is not finite there is no figure but their number.

    Places where both hold the same infinity, or both NaN, count for nothing.
    """
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    broken = ~same & ~(np.isfinite(expected) & np.isfinite(found))
    if broken.any():
        return OutputError(output=name, non_finite=int(broken.sum()))
    finite = np.isfinite(expected)
    signal, noisy = expected[finite], found[finite]
    return OutputError(
        output=name,
        snr_db=signal_to_noise(signal, noisy),
        cosine=cosine(signal, noisy),
        largest=float(np.abs(signal - noisy).max(initial=0)),
    )


def signal_to_noise(signal: Array, noisy: Array) -> float | None:
    """10 log10 of the signal's energy over the difference's, in dB; None if either is 0."""
    energy = float(np.square(signal).sum())
    noise = float(np.square(signal - noisy).sum())
    return 10 * float(np.log10(energy / noise)) if energy > 0 and noise > 0 else None


def cosine(a: Array, b: Array) -> float | None:
    """The cosine of the angle between two vectors; None if either has no length."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.dot(a, b)) / lengths if lengths > 0 else None


def share_correct(scores: Array, labels: Array) -> float:
    """The share of samples whose highest score is their label's.

    Args:
        scores: samples x classes; a sample with NaN among its scores counts as wrong.
        labels: a class for each sample.
    """
    right = (np.argmax(scores, axis=1) == labels) & ~np.isnan(scores).any(axis=1)
    return float(right.mean())


def share_within_cents(found: Array, known: Array, cents: float) -> float:
    """The share of frequencies at most so many cents (1/1200 octave) from the known ones.

    Args:
        found: in Hz; NaN counts as wrong.
        known: in Hz.
        cents: the largest distance that is right.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.abs(1200 * np.log2(found / known))
    return float((distance <= cents).mean())
