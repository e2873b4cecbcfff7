"""Faults in LinearQuantizer: coremltools' own with one thing wrong, for the length of a run.

``python -m mutants.linear_quantizer FOLDER`` runs each through the checks of its clause, and
coremltools as it is through those of all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import coremltools.optimize as cto
import msgspec
import pytest
import torch

from coreml_assay import conformance
from coreml_assay.conformance.runner import pytest_arguments
from coreml_assay.records import CheckResult, Outcome

_QUANTIZATION = "coremltools.optimize.torch.quantization"
_QUANTIZER = f"{_QUANTIZATION}.quantizer"
_OBSERVER = "torch.ao.quantization.observer"


def _named(name: str) -> Any:
    """What a dotted name stands for, a module's or a class's attribute."""
    owner, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(owner), attribute)
    except ModuleNotFoundError:
        return getattr(_named(owner), attribute)


class Mutant:
    """Base of all mutants: says which names are replaced, and by what.

    Attributes:
        violates: the clause that the fault breaks.
        faults: dotted name to what makes the replacement from the real thing.
    """

    version = "0"
    optimize = cto
    violates: ClassVar[str]
    faults: ClassVar[dict[str, Callable[[Any], Any]]]

    def __init__(self) -> None:
        self.name = type(self).__name__

    @classmethod
    def at_work(cls) -> ExitStack:
        stack = ExitStack()
        for name, fault in cls.faults.items():
            stack.enter_context(patch(name, fault(_named(name))))
        return stack


def _before(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    """A method that first changes its object."""

    def fault(method: Any) -> Any:
        def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
            change(self)
            return method(self, *args, **kwargs)

        return changed

    return fault


def _nothing(_: Any) -> Any:
    return lambda *args, **kwargs: None


def _count_behind(quantizer: Any) -> None:
    if quantizer._step_count == 0 and not hasattr(quantizer, "behind"):
        quantizer.behind = True
        quantizer._step_count = -1


class MilestonesOneStepLate(Mutant):
    violates = "L.16"
    faults = {f"{_QUANTIZER}.LinearQuantizer.step": _before(_count_behind)}


class StatisticsMoveAfterFreezing(Mutant):
    violates = "L.16"
    faults = {f"{_QUANTIZER}._qat.freeze_bn_stats": _nothing}


class SimulatesBeforeItsMilestone(Mutant):
    violates = "L.15"
    faults = {f"{_QUANTIZER}._aoquant.disable_fake_quant": _nothing}


def _forget(observer: Any) -> None:
    observer.min_val, observer.max_val = torch.tensor(torch.inf), torch.tensor(-torch.inf)


class LastBatchOnly(Mutant):
    violates = "L.23"
    faults = {f"{_OBSERVER}.MinMaxObserver.forward": _before(_forget)}


def _faster(observer: Any) -> None:
    observer.averaging_constant = 0.1


class AveragesTenTimesAsFast(Mutant):
    violates = "L.23"
    faults = {f"{_OBSERVER}.MovingAverageMinMaxObserver.forward": _before(_faster)}


class GivesUpTheLowestCode(Mutant):
    violates = "L.28"
    faults = {
        f"{_OBSERVER}.PerChannelMinMaxObserver.calculate_qparams": lambda real: (
            lambda self: (real(self)[0] * (127.5 / 127), real(self)[1])
        )
    }


class GradientLeaksOutsideTheRange(Mutant):
    violates = "L.33"
    faults = {
        "torch.ao.quantization.fake_quantize.FakeQuantize.forward": lambda real: (
            lambda self, x: x + (real(self, x) - x).detach()
        )
    }


class LearnsScalesAtFullSpeed(Mutant):
    violates = "L.34"
    faults = {
        f"{_QUANTIZATION}.modules.learnable_fake_quantize.grad_scale": lambda _: lambda x, scale: x
    }


class LosesEntriesOfNames(Mutant):
    violates = "L.9"
    faults = {
        "torch.ao.quantization.QConfigMapping.set_module_name": lambda _: lambda self, *args: self
    }


def _transposed_scales(real: Any) -> Any:
    def fault(submodule: Any) -> None:
        submodule.weight_axis = 1 - submodule.weight_axis
        real(submodule)

    return fault


class ScalesAlongTheInputs(Mutant):
    violates = "L.37"
    faults = {f"{_QUANTIZER}._register_compression_metadata": _transposed_scales}


class CodesOutsideFourBits(Mutant):
    violates = "L.36"
    faults = {f"{_QUANTIZER}._pre_apply_weight_quant": _nothing}


class ReportsTheSquaredError(Mutant):
    violates = "L.35"
    faults = {f"{_QUANTIZER}._rmse_error": lambda real: lambda *pair: real(*pair) ** 2}


class FinalizesInPlace(Mutant):
    violates = "L.19"
    faults = {
        f"{_QUANTIZER}.LinearQuantizer.finalize": lambda real: (
            lambda self, model=None, inplace=False: real(self, model, inplace=True)
        )
    }


MUTANTS = sorted(Mutant.__subclasses__(), key=lambda each: each.__name__)


# Only these files are collected, each time anew: the whole suite would take most of the time.
CHECKS = sorted((Path(conformance.__file__).parent / "properties").glob("test_lq_*.py"))


def run(implementation: str, clauses: set[str], results: Path, *options: str) -> None:
    chosen = [part for clause in sorted(clauses) for part in ("--clause", clause)]
    _, _, *settings = pytest_arguments(implementation, 0, "quick", results)  # no package
    pytest.main([*map(str, CHECKS), *settings, *chosen, *options])


def main(folder: Path) -> None:
    right = folder / "coremltools.jsonl"
    run("coremltools", {each.violates for each in MUTANTS}, right)
    deviating = {
        clause
        for line in right.read_bytes().splitlines()
        if (result := msgspec.json.decode(line, type=CheckResult)).outcome is not Outcome.PASS
        for clause in result.clauses
    }
    for mutant in MUTANTS:
        # Where coremltools passes every check, the first failure is the mutant's own.
        options = [] if mutant.violates in deviating else ["-x"]
        with mutant.at_work():
            name = f"mutants.linear_quantizer:{mutant.__name__}"
            run(name, {mutant.violates}, folder / f"{mutant.__name__}.jsonl", *options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
