"""Faults in quantizing activations."""

from __future__ import annotations

import attrs
import numpy as np

from coreml_assay.mil.program import all_operations
from coreml_assay.numerics import Grid, affine, choose_qparams
from coreml_assay.optimize.coreml import activation_pairs, calibration
from coreml_assay.optimize.coreml.calibration import TensorRange
from mutants.mutant import Mutant

# The real functions, for faults that change what they take or return.
_range_of_extremes = affine.range_of_extremes
_parameters, _last, _named = (
    activation_pairs.activation_parameters,
    activation_pairs._last_of_pattern,
    calibration._inputs,
)


class KeepsTheLastSampleOnly(Mutant):
    violates = "A.13"
    faults = {"optimize.coreml.calibration.TensorRange.union": lambda self, other: other}


class AveragesSamples(Mutant):
    violates = "A.14"
    faults = {
        "optimize.coreml.calibration.TensorRange.union": lambda self, other: TensorRange(
            (self.low + other.low) / 2, (self.high + other.high) / 2
        )
    }


class LeavesConcatsApart(Mutant):
    violates = "A.21"
    faults = {"optimize.coreml.calibration._share_ranges": lambda ranges, groups: dict(ranges)}


def _joined_to_the_first(program):
    groups = []
    for function in program.functions.values():
        for operation in all_operations(function):
            if operation.op_type == "concat":
                names = calibration._tensors_of_concat(operation)
                first = next((group for group in groups if group & names), None)
                if first is None:
                    groups.append(names)
                else:
                    first |= names
    return groups


class JoinsConcatsToTheFirstGroup(Mutant):
    violates = "A.22"
    faults = {"optimize.coreml.calibration._concatenated": _joined_to_the_first}


def _other_mode(ends, grid, blocks, dtype):
    return choose_qparams(ends, attrs.evolve(grid, symmetric=not grid.symmetric), blocks, dtype)


class SwapsSymmetricAndLinear(Mutant):
    violates = "A.15"
    faults = {"optimize.coreml.activation_pairs.choose_qparams": _other_mode}


class RangeWithoutZero(Mutant):
    violates = "A.16"
    faults = {
        "numerics.affine.range_of_extremes": lambda low, high, grid: (
            _range_of_extremes(low, high, grid) if grid.symmetric else (low, high)
        )
    }


class ClipsRangesToFloat16(Mutant):
    violates = "A.18"
    faults = {
        "optimize.coreml.activation_pairs.activation_parameters": lambda found, grid, var: (
            _parameters(
                TensorRange(*np.clip([found.low, found.high], -65504, 65504).tolist()), grid, var
            )
        )
    }


class PairBeforeTheActivation(Mutant):
    violates = "A.6"
    faults = {
        "optimize.coreml.activation_pairs._last_of_pattern": lambda core: _last(core) and core
    }


class QuantizesInfinities(Mutant):
    violates = "A.20"
    faults = {
        "optimize.coreml.activation_pairs._Pairs._usable_range": lambda self, key, var: TensorRange(
            *np.clip(attrs.astuple(self.ranges[var.name]), -1e4, 1e4).tolist()
        )
    }


class GlobalConfigurationForAll(Mutant):
    violates = "A.2"
    faults = {
        "optimize.coreml.activation_pairs.config_of_operation": lambda config, operation: (
            config.global_config
        )
    }


def _name_written_into_the_sample(sample, evaluator, *others):
    if None in sample:
        sample.update(dict.fromkeys(evaluator.inputs, sample[None]))
        del sample[None]
    return _named(sample, evaluator, *others)


class EditsTheSamples(Mutant):
    violates = "A.23"
    faults = {"optimize.coreml.calibration._inputs": _name_written_into_the_sample}


class AlwaysInt8(Mutant):
    violates = "A.3"
    faults = {
        "optimize.coreml.config.OpLinearQuantizerConfig.grid": property(
            lambda self: Grid(8, True, self.mode == "LINEAR_SYMMETRIC")
        )
    }


MUTANTS = sorted(
    (each for each in Mutant.__subclasses__() if each.__module__ == __name__),
    key=lambda each: each.__name__,
)
