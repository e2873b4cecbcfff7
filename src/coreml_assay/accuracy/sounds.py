"""Two published models of pitch, on tones whose pitch is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coreml_assay.accuracy.cases import BuiltIn, Case, Requirement, Sample, Task
from coreml_assay.accuracy.metrics import Array, Outputs, share_correct, share_within_cents
from coreml_assay.accuracy.models import SHIPPED, ShippedModel
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program, open_package

_BASIC_PITCH, _CREPE_TINY = SHIPPED


def tone(frequency: float, rate: int, length: int, rng: np.random.Generator) -> Array:
    """A tone with falling harmonics and a little noise: float32, about 1 at most.

    Args:
        frequency: in Hz.
        rate: samples a second.
        length: in samples.
        rng: for phases, harmonics and noise.
    """
    time = np.arange(length) / rate
    wave = np.zeros(length)
    for harmonic in range(1, 6):
        if harmonic * frequency < rate / 2:
            phase = rng.uniform(0, 2 * np.pi)
            strength = rng.uniform(0.5, 1) / harmonic
            wave += strength * np.sin(2 * np.pi * harmonic * frequency * time + phase)
    wave += rng.normal(0, 0.01, length)
    return (0.5 * wave).astype(np.float32)


def make_crepe(seed: int) -> Case:
    """CREPE, tiny: 300 frames of 64 ms, pitch within half a semitone."""
    model = open_package(_package(_CREPE_TINY))
    ((name, _),) = Evaluator(load_program(model)).inputs.items()
    rng = np.random.default_rng(seed)

    def frames(count: int) -> tuple[Array, Array]:
        known = np.exp(rng.uniform(np.log(60), np.log(1200), count))
        waves = np.stack([tone(each, 16000, 1024, rng) for each in known])
        waves -= waves.mean(axis=1, keepdims=True)
        return (waves / waves.std(axis=1, keepdims=True)).astype(np.float32), known

    calibration, _ = frames(32)
    heard, known = frames(300)
    return Case(
        name="CREPE tiny",
        model=model,
        data=f"300 tones of known pitch (seed {seed})",
        samples=_batches(name, heard, 50),
        calibration=_batches(name, calibration, 8),
        task=Task(
            "pitch within 50 cents",
            lambda outputs: share_within_cents(
                crepe_pitch(np.concatenate([next(iter(each.values())) for each in outputs])),
                known,
                50,
            ),
        ),
        probes=1,
    )


def _batches(name: str, frames: Array, size: int) -> list[Sample]:
    return [{name: frames[at : at + size]} for at in range(0, len(frames), size)]


def crepe_pitch(activations: Array) -> Array:
    """The pitch, in Hz, that CREPE's activations mean.

    Source: Kim et al., CREPE (ICASSP 2018): 360 bins 20 cents apart from C1 on; the average of the
    bins around the highest, weighted by their activations.

    Args:
        activations: frames x 360.
    """
    cents = 1997.3794084376191 + 20 * np.arange(360)
    peak = np.argmax(activations, axis=1)[:, None]
    weights = np.where(np.abs(np.arange(360) - peak) <= 4, activations, 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        pitch: Array = 10 * 2 ** ((weights @ cents / weights.sum(axis=1)) / 1200)
    return pitch


def make_basic_pitch(seed: int) -> Case:
    """basic-pitch: the note of one tone, two seconds long."""
    model = open_package(_package(_BASIC_PITCH))
    ((name, taken),) = Evaluator(load_program(model)).inputs.items()
    shape = tuple(length or 1 for length in taken.shape)
    rng = np.random.default_rng(seed)
    notes = rng.integers(40, 85, 24)  # MIDI; the lowest of the 88 outputs is 21
    sounds = [
        {name: tone(440 * 2 ** ((note - 69) / 12), 22050, int(np.prod(shape)), rng).reshape(shape)}
        for note in [*notes, *rng.integers(40, 85, 6)]
    ]

    def score(outputs: Sequence[Outputs]) -> float:
        found = np.stack([each["Identity_1"][0].mean(axis=0) for each in outputs])
        return share_correct(found, notes - 21)

    return Case(
        name="basic-pitch",
        model=model,
        data=f"24 tones of known pitch (seed {seed})",
        samples=sounds[:24],
        calibration=sounds[24:],
        task=Task("notes told right", score),
        probes=1,
    )


def _package(shipped: ShippedModel) -> Path:
    folder = shipped.find()
    assert folder is not None, f"needs {shipped.install_command}"
    return folder


def _needs(shipped: ShippedModel) -> tuple[Requirement, ...]:
    return (Requirement(shipped.distribution, shipped.version),)


CREPE = BuiltIn("crepe", _needs(_CREPE_TINY), make_crepe)
BASIC_PITCH = BuiltIn("basic-pitch", _needs(_BASIC_PITCH), make_basic_pitch)
