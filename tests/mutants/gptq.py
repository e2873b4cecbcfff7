"""Faults in GPTQ and in LayerwiseCompressor."""

from __future__ import annotations

import attrs
import torch

from coreml_assay.numerics.gptq import algorithm, factor, hessian, parameters, plan, sweep
from coreml_assay.optimize.torch.layerwise_compression import _columns, gptq, input_cacher
from mutants.mutant import Mutant

_parameters, _codes = parameters.Rounder.parameters, parameters.Rounder.codes
_factorize, _damped = factor.factorize, factor._damped
_sweep, _enter = sweep.sweep, sweep.enter
_update, _input_columns = hessian.Hessian.update, _columns.input_columns
_spec, _plan = gptq.GPTQ._spec, plan.plan


class ForgetsAllButTheLastSample(Mutant):
    violates = "G.9"

    def _last(self, inputs):
        self._sum.zero_()
        _update(self, inputs)

    faults = {"numerics.gptq.hessian.Hessian.update": _last}


class CompensatesNothing(Mutant):
    violates = "G.13"

    @staticmethod
    def _without_below(matrix, dampening, activation_order):
        found = _factorize(matrix, dampening, activation_order)
        return attrs.evolve(found, unit_lower=torch.eye(len(found.unit_lower)))

    faults = {"numerics.gptq.algorithm.factorize": _without_below}


class CompensatesTheWrongWay(Mutant):
    violates = "G.11"

    @staticmethod
    def _negated(matrix, dampening, activation_order):
        found = _factorize(matrix, dampening, activation_order)
        return attrs.evolve(found, unit_lower=-found.unit_lower)

    faults = {"numerics.gptq.algorithm.factorize": _negated}


class MakesGoodOnlyWithinGroups(Mutant):
    violates = "G.10"

    @staticmethod
    def _without_the_rest(columns, group, block):
        steps = _plan(columns, group, block)
        return [step for step in steps if not isinstance(step, plan.Compensate)]

    faults = {"numerics.gptq.algorithm.plan": _without_the_rest}


class ScalesOfTheTargets(Mutant):
    violates = "G.28"

    @staticmethod
    def _targets(weight, work, unit_lower, start, stop):
        # A target holds what all columns before it left over, as if those of its block had rounded
        # nothing away.
        original, _ = _enter(weight, work, unit_lower, start, stop)
        return original, work[start:stop]

    faults = {"numerics.gptq.sweep.enter": _targets}


class DampsFarTooMuch(Mutant):
    violates = "G.13"

    @staticmethod
    def _too_much(matrix, order, dead, mean, share):
        return _damped(matrix, order, dead, mean * 1e6, share)

    faults = {"numerics.gptq.factor._damped": _too_much}


class ForgetsToUndoTheOrder(Mutant):
    violates = "G.8"

    @staticmethod
    def _in_order_of_processing(*arguments):
        _sweep(*arguments)
        _, rows, found, *_, result = arguments
        if found.order is not None:
            result.codes[rows] = result.codes[rows][:, found.order]
            result.weight[rows] = result.weight[rows][:, found.order]

    faults = {"numerics.gptq.algorithm.sweep": _in_order_of_processing}


class SaturatesRowsWithoutNegatives(Mutant):
    violates = "G.7"

    def _half_range(self, block):
        scale, zero = _parameters(self, block)
        return torch.where(block.amin(0) >= 0, scale / 2, scale), zero

    faults = {"numerics.gptq.parameters.Rounder.parameters": _half_range}


class ScalesOfTheWholeRow(Mutant):
    violates = "G.14"
    faults = {
        "optimize.torch.layerwise_compression.gptq.GPTQ._spec": lambda self: attrs.evolve(
            _spec(self), block_columns=None
        )
    }


class GivesUpACode(Mutant):
    violates = "G.6"

    def _fewer_steps(self, block):
        scale, zero = _parameters(self, block)
        return scale * self.highest / (self.highest - 1), zero

    faults = {"numerics.gptq.parameters.Rounder.parameters": _fewer_steps}


class ZeroesDeadColumns(Mutant):
    violates = "G.12"

    @staticmethod
    def _zeroed(weight, hessian, spec):
        dead = hessian.lower.diagonal() == 0
        return algorithm.quantize(weight.masked_fill(dead, 0), hessian, spec)

    faults = {"optimize.torch.layerwise_compression.gptq.quantize": _zeroed}


class IgnoresGroups(Mutant):
    violates = "G.16"

    @staticmethod
    def _of_the_first(layer, inputs):
        columns = _input_columns(layer, inputs)
        return columns[:1].expand_as(columns)

    faults = {"optimize.torch.layerwise_compression.gptq.input_columns": _of_the_first}


class TakesPatchesInAnotherOrder(Mutant):
    violates = "G.16"

    @staticmethod
    def _places_first(layer, inputs):
        columns, channels = _input_columns(layer, inputs), layer.weight.shape[1]
        return columns.unflatten(2, (channels, -1)).transpose(2, 3).flatten(2)

    faults = {"optimize.torch.layerwise_compression.gptq.input_columns": _places_first}


class KeepsTheLastSamplesArguments(Mutant):
    violates = "G.18"

    def _last_arguments(self, dataloader, nsamples, device):
        samples = _cache(self, dataloader, nsamples, device)
        return [attrs.evolve(sample, kwargs=samples[-1].kwargs) for sample in samples]

    faults = {
        "optimize.torch.layerwise_compression.input_cacher.GPTFirstLayerInputCacher.cache": (
            _last_arguments
        )
    }


_cache = input_cacher.GPTFirstLayerInputCacher.cache

MUTANTS = sorted(
    (each for each in Mutant.__subclasses__() if each.__module__ == __name__),
    key=lambda each: each.__name__,
)
