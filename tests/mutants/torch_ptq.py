"""Faults in PostTrainingQuantizer."""

from __future__ import annotations

import types

import attrs
import torch
from torch import nn

from coreml_assay.optimize.torch import optimization_config
from coreml_assay.optimize.torch.quantization import _plan, _tensors, post_training_quantization
from mutants.mutant import Mutant

_PACKAGE = "optimize.torch.quantization"
_QUANTIZER = f"{_PACKAGE}.post_training_quantization"
_CONFIG = "optimize.torch.optimization_config.OptimizationConfig"

# The real functions, for faults that change what they do.
_block_shape, _blockwise = _plan.block_shape, _plan._blockwise
_quantize_tensor = _tensors.quantize_tensor
_config_of = optimization_config.OptimizationConfig.get_module_config
_from_dict = optimization_config.OptimizationConfig.from_dict.__func__
_compress_method = post_training_quantization.PostTrainingQuantizer.compress
_quantize, _register = (
    post_training_quantization._quantize,
    (post_training_quantization.register_quantization),
)
_supported = post_training_quantization.PostTrainingQuantizer._supported_modules


class _Throughout(Mutant):
    throughout = True


class ChannelsOfTransposedConvolutionsSwapped(_Throughout):
    violates = "T.17"
    faults = {
        f"{_QUANTIZER}.block_shape": lambda layer, shape, config: _block_shape(
            nn.Linear(1, 1), shape, config
        )
    }


class BlocksAlongOutputs(_Throughout):
    violates = "T.18"
    faults = {
        f"{_PACKAGE}._plan._blockwise": lambda shape, sizes, output_axis, input_axis: _blockwise(
            shape, sizes, input_axis, output_axis
        )
    }


class BlocksThatDoNotFitAreHalved(_Throughout):
    violates = "T.20"

    @staticmethod
    def _halved(shape, sizes, output_axis, input_axis):
        while isinstance(found := _blockwise(shape, sizes, output_axis, input_axis), _plan.Skip):
            if max(sizes) < 2:
                return found
            sizes = tuple(size // 2 for size in sizes)
        return found

    faults = {f"{_PACKAGE}._plan._blockwise": _halved}


class ClassBeforeName(_Throughout):
    violates = "T.5"

    @staticmethod
    def _class_first(self, name, module):
        for key in (type(module), type(module).__name__):
            if key in self.module_type_configs:
                return self.module_type_configs[key]
        return _config_of(self, name, module)

    faults = {f"{_CONFIG}.get_module_config": _class_first}


class NoneMeansDefault(_Throughout):
    violates = "T.5"
    faults = {
        f"{_CONFIG}.get_module_config": lambda self, name, module: (
            _config_of(self, name, module) or self.global_config or self._module_config_class()
        )
    }


class EmptiesTheDictionary(_Throughout):
    violates = "T.9"

    @staticmethod
    def _emptied(cls, config_dict):
        made = _from_dict(cls, dict(config_dict))
        config_dict.clear()
        return made

    faults = {f"{_CONFIG}.from_dict": classmethod(_emptied.__func__)}


class QuantizesEmbeddings(_Throughout):
    violates = "T.12"
    faults = {f"{_QUANTIZER}.PostTrainingQuantizer._supported_modules": (*_supported, nn.Embedding)}


class LeavesOutAttention(_Throughout):
    violates = "T.12"
    faults = {f"{_QUANTIZER}.PostTrainingQuantizer._supported_modules": _supported[:-1]}


class ScalesOneStepStale(_Throughout):
    violates = "T.13"

    @staticmethod
    def _wider(weight, grid, blocks):
        found = _quantize_tensor(weight * 1.01, grid, blocks)
        return found

    faults = {f"{_QUANTIZER}.quantize_tensor": _wider}


class KeepsTheFloatWeights(_Throughout):
    violates = "T.14"
    faults = {
        f"{_QUANTIZER}.quantize_tensor": lambda weight, grid, blocks: attrs.evolve(
            _quantize_tensor(weight, grid, blocks), weight=weight.detach().clone()
        )
    }


class ZeroPointOffByOne(_Throughout):
    violates = "T.16"

    @staticmethod
    def _off(weight, grid, blocks):
        found = _quantize_tensor(weight, grid, blocks)
        zero_point = None if found.zero_point is None else found.zero_point + 1
        return attrs.evolve(found, zero_point=zero_point)

    faults = {f"{_QUANTIZER}.quantize_tensor": _off}


class ZeroPointOfTheOtherSign(_Throughout):
    violates = "T.25"

    @staticmethod
    def _other(weight, grid, blocks):
        found = _quantize_tensor(weight, grid, blocks)
        if found.zero_point is None:
            return found
        other = torch.int8 if found.zero_point.dtype is torch.uint8 else torch.uint8
        return attrs.evolve(found, zero_point=found.zero_point.to(other))

    faults = {f"{_QUANTIZER}.quantize_tensor": _other}


class NamesTheWrongWidth(_Throughout):
    violates = "T.25"
    faults = {
        f"{_QUANTIZER}.register_quantization": lambda module, name, bits, scale, zero_point: (
            _register(module, name, 8, scale, zero_point)
        )
    }


class ScalesOfRankOne(_Throughout):
    violates = "T.25"
    faults = {
        f"{_QUANTIZER}.register_quantization": lambda module, name, bits, scale, zero_point: (
            _register(module, name, bits, scale.flatten(), zero_point)
        )
    }


class ForgetsTheVersion(_Throughout):
    violates = "T.26"
    faults = {f"{_QUANTIZER}.register_version": lambda model: None}


class QuantizesTwice(_Throughout):
    violates = "T.27"
    faults = {f"{_QUANTIZER}.unsuitable": lambda place: None}


class SeparatesWhatIsShared(_Throughout):
    violates = "T.28"

    @staticmethod
    def _apart(parameter, plan, places):
        found = _quantize(parameter, plan, places)
        for place in places[1:]:
            copied = nn.Parameter(place.parameter.detach().clone())
            setattr(place.module, place.attribute, copied)
        return found

    faults = {f"{_QUANTIZER}._quantize": _apart}


class NumbersInPlaceOfNaN(_Throughout):
    violates = "T.29"
    faults = {
        f"{_QUANTIZER}.quantize_tensor": lambda weight, grid, blocks: _quantize_tensor(
            torch.nan_to_num(weight.detach()), grid, blocks
        )
    }


class CompressesInPlace(_Throughout):
    violates = "T.22"
    faults = {
        f"{_QUANTIZER}.PostTrainingQuantizer.compress": (
            lambda self, inplace=False: _compress_method(self, inplace=True)
        )
    }


class SilentWhenNothingIsDone(_Throughout):
    violates = "T.21"
    faults = {f"{_QUANTIZER}.warnings": types.SimpleNamespace(warn=lambda *args, **named: None)}


class ReportsTheSquaredError(_Throughout):
    violates = "T.24"

    @staticmethod
    def _squared(parameter, plan, places):
        found = _quantize(parameter, plan, places)
        return {**found, "error": found["error"] ** 2} if isinstance(found, dict) else found

    faults = {f"{_QUANTIZER}._quantize": _squared}


MUTANTS = sorted(_Throughout.__subclasses__(), key=lambda each: each.__name__)
