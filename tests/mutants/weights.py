"""Faults in quantizing weights."""

from __future__ import annotations

import attrs
import numpy as np

from coreml_assay.numerics import affine, blocks, sliced
from coreml_assay.optimize.coreml import selection, transform
from mutants.mutant import Mutant

# The real functions, for faults that change what they return.
_round, _range_to_qparams = sliced._round, affine.qparams_of_range
_range_of_extremes, _per_block = affine.range_of_extremes, blocks.per_block
_axes_for, _size = selection._channel_axes_for, transform.WeightQuantizer._decompressed_size


def _codes(rounded, grid, z):
    return (rounded if z is None else rounded + z).clamp(grid.lowest, grid.highest)


class RoundsHalfUp(Mutant):
    violates = "Q.2"
    faults = {
        "numerics.sliced._round": lambda w, s, z, grid: _codes((w / s + 0.5).floor(), grid, z)
    }


class Truncates(Mutant):
    violates = "Q.2"
    faults = {"numerics.sliced._round": lambda w, s, z, grid: _codes((w / s).trunc(), grid, z)}


class RoundsAfterAddingZeroPoint(Mutant):
    violates = "Q.2"
    faults = {
        "numerics.sliced._round": lambda w, s, z, grid: _codes(
            (w / s + (0 if z is None else z)).round(), grid, None
        )
    }


class ClipsOneCodeEarly(Mutant):
    violates = "Q.1"
    faults = {
        "numerics.sliced._round": lambda w, s, z, grid: _round(w, s, z, grid).clamp(
            max=grid.highest - 1
        )
    }


class DoesNotClip(Mutant):
    violates = "Q.1"
    faults = {
        "numerics.sliced._round": lambda w, s, z, grid: (
            (w / s).round() + (0 if z is None else z) + (1 if grid.symmetric else 0)
        )
    }


def _shifted_zero_point(A, B, grid):
    found = _range_to_qparams(A, B, grid)
    if found.zero_point is None or grid.symmetric:
        return found
    moved = np.clip(found.zero_point.astype(int) + 1, grid.lowest, grid.highest)
    return attrs.evolve(found, zero_point=moved.astype(grid.dtype))


class ZeroPointOffByOne(Mutant):
    violates = "Q.5"
    faults = {"numerics.rounding.qparams_of_range": _shifted_zero_point}


class RangeWithoutZero(Mutant):
    violates = "Q.4"
    faults = {
        "numerics.rounding.range_of_extremes": lambda low, high, grid: (
            _range_of_extremes(low, high, grid) if grid.symmetric else (low, high)
        )
    }


class ScaleOfTheWrongBlock(Mutant):
    violates = "Q.9"
    faults = {
        "numerics.rounding.range_of_extremes": lambda *args: tuple(
            np.roll(bound, 1, axis=-1) for bound in _range_of_extremes(*args)
        )
    }


class SymmetricRangeOneCodeTooWide(Mutant):
    violates = "Q.3"
    faults = {
        "numerics.rounding.qparams_of_range": lambda A, B, grid: attrs.evolve(
            _range_to_qparams(A, B, grid),
            scale=(B - A) / (grid.steps + (1 if grid.symmetric else 0)),
        )
    }


class TransposedConvolutionByItsFirstAxis(Mutant):
    violates = "W.5"
    faults = {
        "optimize.coreml.selection._channel_axes_for": lambda consumer, var: (
            selection.ChannelAxes(0, 1)
            if consumer.op_type == "conv_transpose"
            else _axes_for(consumer, var)
        )
    }


class MatmulAxesSwapped(Mutant):
    violates = "W.5"
    faults = {
        "optimize.coreml.selection._matmul_axes": lambda consumer, var: selection.ChannelAxes(
            var.rank - 2, var.rank - 1
        )
    }


class BlocksTwiceAsLong(Mutant):
    violates = "W.7"
    faults = {
        "optimize.coreml.transform.per_block": lambda rank, output, input_, size: _per_block(
            rank, output, input_, 2 * size
        )
    }


class BlocksAlongTheOutputs(Mutant):
    violates = "W.7"
    faults = {
        "optimize.coreml.transform.per_block": lambda rank, output, input_, size: _per_block(
            rank, input_, output, size
        )
    }


class ThresholdInclusive(Mutant):
    violates = "W.4"
    faults = {
        "optimize.coreml.transform.WeightQuantizer._decompressed_size": lambda self, operation: (
            _size(self, operation) + 1
        )
    }


class FourBitsOnOldTargets(Mutant):
    violates = "W.11"
    faults = {"optimize.coreml.transform.WeightQuantizer._check_target": lambda self, config: None}


class TypeBeforeName(Mutant):
    violates = "C.4"
    faults = {
        "optimize.coreml.selection.config_of_operation": lambda config, operation: (
            config.op_type_configs[operation.op_type]
            if operation.op_type in config.op_type_configs
            else config.op_name_configs.get(operation.name, config.global_config)
        )
    }


MUTANTS = sorted(
    (each for each in Mutant.__subclasses__() if each.__module__ == __name__),
    key=lambda each: each.__name__,
)
