"""Milestones as a state machine: what each step of training switches.

A fake quantizer is in one of the states observing and simulating, each on or off; a batch norm is
free or frozen. With milestones (a, b, c, d) all are off and free at first. At the step whose number
(counted from 0) is

    a: observing goes on, b: simulating goes on, c: observing goes off, d: batch norm freezes

in this order, so that equal numbers combine; -1 is never. What has no milestones stays on.

Source: API reference of ModuleLinearQuantizerConfig, milestones.
"""

from __future__ import annotations

from typing import Any

import attrs
from torch import nn

from coreml_assay.numerics.fake_quantize import FakeQuantizerBase

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@attrs.define(eq=False)
class Schedule:
    """The steps counted, and what they switch.

    Attributes:
        quantizers: with the milestones of each.
        norms: likewise.
        count: the number of the next step.
    """

    quantizers: list[tuple[list[int], FakeQuantizerBase]]
    norms: list[tuple[list[int], Any]]
    count: int = 0

    @classmethod
    def of(cls, prepared: nn.Module) -> Schedule:
        """The schedule of a prepared model."""
        quantizers = [
            (each.milestones, each)
            for each in prepared.modules()
            if isinstance(each, FakeQuantizerBase) and each.milestones is not None
        ]
        whole = quantizers[0][0] if quantizers else None
        norms = []
        for module in prepared.modules():
            own = getattr(module, "weight_fake_quant", None)
            milestones = own.milestones if own is not None else whole
            found = getattr(module, "bn", None) or (module if isinstance(module, _NORMS) else None)
            if isinstance(found, _NORMS) and milestones is not None:
                norms.append((milestones, found))
        return cls(quantizers, norms)

    def step(self) -> None:
        """Count a step, and switch what has its milestone at it."""
        for milestones, quantizer in self.quantizers:
            observe_on, simulate_on, observe_off, _ = milestones
            if self.count == observe_on:
                quantizer.switch(observe=True)
            if self.count == simulate_on:
                quantizer.switch(simulate=True)
            if self.count == observe_off:
                quantizer.switch(observe=False)
        for milestones, norm in self.norms:
            if self.count == milestones[3]:
                freeze(norm)
        self.count += 1


def freeze(norm: nn.Module) -> None:
    """Keep a batch norm's statistics as they are, also when the model goes back to training."""
    norm.eval()
    norm.register_forward_pre_hook(_stay_in_evaluation)


def _stay_in_evaluation(norm: nn.Module, _inputs: Any) -> None:
    norm.eval()
