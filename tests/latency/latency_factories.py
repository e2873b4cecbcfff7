"""Prepared folders, clocks that nobody waits for, and a backend that claims to be a Mac.

The pretended Mac is for checks and reports alone; what coremltools does on one is in
``fake_coreml``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coreml_assay.latency.backends import EvaluatorBackend
from coreml_assay.latency.collect import Watch, collect
from coreml_assay.latency.prepare import Wanted, prepare
from coreml_assay.latency_records import DEVICE_UNITS, Device, PlacedOperation, Placement
from coreml_assay.mil.program import save_package
from coreml_assay.mil.samples import single

MAC = Device(
    kind="mac",
    name="Test1,1",
    os_version="15.0",
    os_build="24A1",
    xcode="16.0 (16A1)",
    processors=("cpu", "gpu", "neural engine"),
    thermal_before="nominal",
    thermal_after="unknown",
)
PREFERRED = {"CPU_ONLY": "cpu", "CPU_AND_NE": "neural engine", "ALL": "neural engine"}


class Clock:
    """Nanoseconds that go on by a random step, in the mean ``scale`` ms, whenever asked."""

    def __init__(self, scale=1.0, seed=0):
        self.now = 0
        self._scale = scale
        self._random = np.random.default_rng(seed)

    def __call__(self):
        self.now += round(1e6 * self._scale * self._random.lognormal(0, 0.02))
        return self.now

    def watch(self):
        return Watch(now=lambda: self.now, sleep=self._sleep)

    def _sleep(self, nanoseconds):
        self.now += nanoseconds


class QuickEvaluator(EvaluatorBackend):
    """Evaluates the same inputs once; the clock is nobody's anyway."""

    def load(self, package, compute_units):
        loaded = super().load(package, compute_units)
        evaluate, known = loaded._evaluator.predict, {}

        def predict(inputs):
            key = b"".join(value.tobytes() for value in inputs.values())
            if key not in known:
                known[key] = evaluate(inputs)
            return known[key]

        loaded._evaluator.predict = predict
        return loaded


class PretendedMac(QuickEvaluator):
    """The evaluator under a device's name, which only a test may do."""

    name = "coreml"
    compute_units = DEVICE_UNITS

    def load(self, package, compute_units):
        loaded = super().load(package, compute_units)
        preferred = PREFERRED[compute_units]
        loaded.placement = lambda: Placement(
            compute_units=compute_units,
            operations=(
                PlacedOperation(operator="ios18.linear", preferred=preferred, cost=0.75),
                PlacedOperation(operator="ios18.relu", preferred="cpu", cost=0.05),
                PlacedOperation(operator="ios18.reshape", preferred=preferred),
            ),
        )
        return loaded

    def device(self, before):
        return MAC


def make_prepared(folder: Path) -> Path:
    """A prepared folder with one small case, as it is and with int8 weights."""
    package = folder / "small.mlpackage"
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    save_package(single(weight), package)
    wanted = Wanted({"small": package}, ("as it is", "int8 per channel"), seed=1)
    prepare(wanted, folder / "prepared", lambda done, total: None)
    return folder / "prepared"


def collected(prepared: Path, folder: Path, backend=QuickEvaluator, scale=1.0, seed=0):
    """A session that took no time."""
    clock = Clock(scale, seed)
    return collect(prepared, folder, backend(clock), lambda done, total: None, clock.watch())
