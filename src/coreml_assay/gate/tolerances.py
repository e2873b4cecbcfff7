"""How much a figure may differ before the gate calls it a regression, and why just that much.

What is not in this table is deterministic and compared exactly.
"""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """One allowed difference."""

    figure: str
    value: float
    unit: str
    reason: str


WORST_ERROR = Tolerance(
    figure="worst error of a compressed weight",
    value=0.75,
    unit="steps",
    reason=(
        "rounding to nearest costs at most half a step; a scale stored in float16 is off by up to "
        "2^-11 of itself, an eighth of a step at the farthest of 255 codes, and so is a value "
        "stored in float16; truncating or missing the zero point by one costs a whole step"
    ),
)

SNR = Tolerance(
    figure="signal-to-noise ratio of the weights, below the baseline",
    value=0.01,
    unit="dB",
    reason=(
        "sums taken in another order and ties rounded the other way move the ratio by thousandths "
        "of a decibel; one bit less costs 6"
    ),
)

OUTPUT_SNR = Tolerance(
    figure="signal-to-noise ratio of an output, below the baseline",
    value=0.5,
    unit="dB",
    reason=(
        "another processor sums in another order, which moves activations near a tie to the next "
        "code; one bit less costs 6"
    ),
)

TRAINED_SNR = Tolerance(
    figure="the same for a network that each run trains anew",
    value=4,
    unit="dB",
    reason="other weights round otherwise; one bit less costs 6",
)

DEVICE_SNR = Tolerance(
    figure="signal-to-noise ratio of an output on a device against the evaluator, at least",
    value=20,
    unit="dB",
    reason=(
        "float16 arithmetic, emulated, was seen to leave 45 dB and more; below 20 the noise is "
        "over a tenth of the signal, and the answer another one"
    ),
)

TIME_RATIO = Tolerance(
    figure="CPU time of one side, times the other's",
    value=1.05,
    unit="times",
    reason=(
        "two processes of the same code differ for as long as they live: by 1 to 3 % as a rule, "
        "by 7 % once; the whole interval has to lie beyond"
    ),
)

LATENCY_RATIO = Tolerance(
    figure="latency of a prediction, times the baseline's, beyond what the sentinel is slower",
    value=1.05,
    unit="times",
    reason=(
        "a session is taken if its own sentinel drifts by no more; the whole interval has to lie "
        "beyond"
    ),
)

TIME_RATIO_ELSEWHERE = Tolerance(
    figure="the same ratio, times the baseline's, from another processor or other kernels",
    value=1.5,
    unit="times",
    reason="caches and vector units differ; an eightfold kernel that was lost is still seen",
)

TIME_DIFFERENCE = Tolerance(
    figure="CPU time of one call, beside the other side's",
    value=0.02,
    unit="ms",
    reason="the cost of a few dozen lines of Python, which no one waits for",
)


def _share(metric: str, value: float, reason: str) -> Tolerance:
    return Tolerance(f"{metric}, below the float model's", value, "of 1", reason)


METRICS = {
    "digits told right": _share(
        "digits told right", 0.015, "8 of 540 images; 8 bits were seen to change none"
    ),
    "pitch within 50 cents": _share(
        "pitch within 50 cents", 0.015, "4 of 300 tones; 8 bits were seen to change none"
    ),
    "notes told right": _share(
        "notes told right", 0.09, "2 of 24 tones; 8 bits were seen to change 1"
    ),
    "faces told right": _share(
        "faces told right", 0.02, "3 of 160 patches; 8 bits were seen to change none"
    ),
    "sentences matched": _share(
        "sentences matched", 0.09, "2 of 24 sentences; 8 bits were seen to change none"
    ),
}
"""How much of each task metric a quantized model may lose against its float model.

With 8 bits, that much is wrong whatever the baseline; with fewer, only if the baseline lost less.
"""

TOLERANCES = (
    WORST_ERROR,
    SNR,
    OUTPUT_SNR,
    TRAINED_SNR,
    DEVICE_SNR,
    LATENCY_RATIO,
    *METRICS.values(),
)
"""Those of a run, which its report shows."""
