"""Faults in LinearQuantizer and in fake quantization."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import torch
from torch import nn

from coreml_assay.numerics import fake_quantize
from coreml_assay.optimize.torch.quantization import (
    _fake_quantizers,
    _finalize,
    _linear_config,
    _milestones,
    _placement,
    linear_quantizer,
)
from mutants.mutant import Mutant

_PACKAGE = "optimize.torch.quantization"
_QUANTIZER = f"{_PACKAGE}.linear_quantizer"
_NUMERICS = "numerics.fake_quantize"

# The real functions, for faults that change what they do.
_observe = fake_quantize.RangeObserver.forward
_updated = fake_quantize.RangeObserver._updated
_parameters_of_range = fake_quantize.parameters_of_range
_schedule_of = _milestones.Schedule.of
_switched, _for_activation = _fake_quantizers._switched, _fake_quantizers.for_activation
_config_of_module = _linear_config.LinearQuantizerConfig.get_module_config
_full_rank, _finalized = _finalize._of_full_rank, _finalize.finalize
_rounded = fake_quantize.FakeQuantizerBase.rounded
_row, _finalize_method = linear_quantizer._row, linear_quantizer.LinearQuantizer.finalize
_quantize_output = _placement._Placement._quantize_output


class _Throughout(Mutant):
    throughout = True


class MilestonesOneStepLate(_Throughout):
    violates = "L.16"
    faults = {
        f"{_PACKAGE}._milestones.Schedule.of": lambda model: attrs.evolve(
            _schedule_of(model), count=-1
        )
    }


class StatisticsMoveAfterFreezing(_Throughout):
    violates = "L.16"
    faults = {f"{_PACKAGE}._milestones.freeze": lambda norm: None}


class SimulatesBeforeItsMilestone(_Throughout):
    violates = "L.15"

    @staticmethod
    def _on(config, quantizer):
        made = _switched(config, quantizer)
        made.switch(simulate=True)
        return made

    faults = {f"{_PACKAGE}._fake_quantizers._switched": _on}


class LastBatchOnly(_Throughout):
    violates = "L.23"

    @staticmethod
    def _forgetful(self, x):
        self.min_val.fill_(torch.inf)
        self.max_val.fill_(-torch.inf)
        return _observe(self, x)

    faults = {f"{_NUMERICS}.RangeObserver.forward": _forgetful}


class AveragesTenTimesAsFast(_Throughout):
    violates = "L.23"

    @staticmethod
    def _fast(self, old, new, wider):
        if self.update == "moving_average_min_max":
            return old + 0.1 * (new - old)
        return _updated(self, old, new, wider)

    faults = {f"{_NUMERICS}.RangeObserver._updated": _fast}


class GivesUpTheLowestCode(_Throughout):
    violates = "L.28"

    @staticmethod
    def _wider(low, high, grid, symmetric):
        scale, zero_point = _parameters_of_range(low, high, grid, symmetric)
        return (scale * (127.5 / 127) if symmetric and grid.signed else scale), zero_point

    faults = {f"{_NUMERICS}.parameters_of_range": _wider}


class RangeWithoutZero(_Throughout):
    violates = "L.24"

    @staticmethod
    def _as_it_is(low, high, grid, symmetric):
        scale, zero_point = _parameters_of_range(low, high, grid, symmetric)
        return (scale if symmetric else (high - low).clamp(1e-9) / grid.steps), zero_point

    faults = {f"{_NUMERICS}.parameters_of_range": _as_it_is}


class NegativeEndDecidesAlone(_Throughout):
    violates = "L.24"

    @staticmethod
    def _one_end(low, high, grid, symmetric):
        return _parameters_of_range(low, -low if symmetric else high, grid, symmetric)

    faults = {f"{_NUMERICS}.parameters_of_range": _one_end}


class HalfTheCodesAfterRelu(_Throughout):
    violates = "L.24"
    faults = {
        f"{_PACKAGE}._fake_quantizers.for_activation": lambda config, non_negative, known: (
            _for_activation(config, non_negative=False, known=known)
        )
    }


class ObservesWhatIsKnown(_Throughout):
    violates = "L.29"
    faults = {f"{_PACKAGE}._placement.known_range": lambda kind: None}


class ConcatenatesApart(_Throughout):
    violates = "L.25"
    faults = {
        f"{_PACKAGE}._placement._Placement._join": lambda self, node: self._share(
            node, self._source(node.all_input_nodes[0])
        )
    }


class PoolsApart(_Throughout):
    violates = "L.25"
    faults = {
        f"{_PACKAGE}._placement._Placement._share": lambda self, node, source: _quantize_output(
            self, node, None, self.config_of(node)
        )
    }


class QuantizesBetweenLayerAndActivation(_Throughout):
    violates = "L.31"
    faults = {f"{_PACKAGE}._fusion.activation_after": lambda node, traced: None}


class GradientLeaksOutsideTheRange(_Throughout):
    violates = "L.33"
    faults = {
        f"{_NUMERICS}.FakeQuantizer.simulate": lambda self, x: x + (self.rounded(x) - x).detach()
    }


class NoGradientAtAll(_Throughout):
    violates = "L.33"
    faults = {f"{_NUMERICS}.FakeQuantizer.simulate": lambda self, x: self.rounded(x).detach()}


class LearnsScalesAtFullSpeed(_Throughout):
    violates = "L.34"
    faults = {f"{_NUMERICS}._ScaledGradient": SimpleNamespace(apply=lambda x, factor: x.clone())}


class LosesEntriesOfNames(_Throughout):
    violates = "L.9"
    faults = {
        f"{_PACKAGE}._linear_config.LinearQuantizerConfig.get_module_config": (
            lambda self, name, module: _config_of_module(self, "", module)
        )
    }


class MilestonesOfTheDefaultForAll(_Throughout):
    violates = "L.11"

    @staticmethod
    def _same(self, config):
        if config is None:
            return None
        milestones = self._config.default.milestones
        dtype = config.as_dict()["weight_dtype"]
        return attrs.evolve(config, weight_dtype=dtype, milestones=milestones)

    faults = {f"{_QUANTIZER}.LinearQuantizer._with_milestones": _same}


class TheGivenModelStaysFloat(_Throughout):
    violates = "L.13"
    faults = {f"{_QUANTIZER}._become": lambda given, prepared: prepared}


class SilentAboutWhatSawNothing(_Throughout):
    violates = "L.20"
    faults = {f"{_QUANTIZER}.unobserved": lambda model: []}


class StaysInTraining(_Throughout):
    violates = "L.19"

    @staticmethod
    def _training(model):
        _finalized(model)
        model.train()

    faults = {f"{_QUANTIZER}.finalize": _training}


class FinalizesInPlace(_Throughout):
    violates = "L.19"
    faults = {
        f"{_QUANTIZER}.LinearQuantizer.finalize": (
            lambda self, model=None, inplace=False: _finalize_method(self, model, inplace=True)
        )
    }


class DividesByAFactorOfZero(_Throughout):
    violates = "L.30"
    faults = {f"{_PACKAGE}._trainable_layers._without_zeros": lambda factor: factor}


class FoldsWithoutEpsilon(_Throughout):
    violates = "L.32"
    faults = {
        f"{_PACKAGE}._trainable_layers.TrainableLayer._folded_factor": (
            lambda self: (self.bn.weight * torch.rsqrt(self.bn.running_var)).detach()
        )
    }


class ScalesOfOtherChannels(_Throughout):
    violates = "L.37"

    @staticmethod
    def _from_the_last(parameter, quantizer, weight):
        found = _full_rank(parameter, quantizer, weight)
        return found.flip(tuple(range(found.ndim)))

    faults = {f"{_PACKAGE}._finalize._of_full_rank": _from_the_last}


class CodesOutsideFourBits(_Throughout):
    violates = "L.36"

    @staticmethod
    def _unclipped(self, x):
        if not isinstance(self, nn.Module) or self.grid.bits != 4:
            return _rounded(self, x)
        scale, zero_point = self.final_parameters()
        shape = [1] * x.ndim
        shape[self.channel_axis or 0] = -1
        s, z = scale.reshape(shape) / 2, zero_point.reshape(shape)
        return (torch.round(x / s + z) - z) * scale.reshape(shape)

    faults = {f"{_NUMERICS}.FakeQuantizerBase.rounded": _unclipped}


class ForgetsTheMetadata(_Throughout):
    violates = "L.36"
    faults = {f"{_PACKAGE}._finalize.register_quantization": lambda *args: None}


class ReportsTheSquaredError(_Throughout):
    violates = "L.35"

    @staticmethod
    def _squared(quantizer, layer):
        found = _row(quantizer, layer)
        return {**found, "error": found["error"] ** 2}

    faults = {f"{_QUANTIZER}._row": _squared}


MUTANTS = sorted(_Throughout.__subclasses__(), key=lambda each: each.__name__)
