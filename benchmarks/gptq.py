"""GPTQ on square layers, stage by stage and whole; uint4 in blocks of 128."""

# asv reads lists, and coremltools is what we compare with.
# ruff: noqa: RUF012, TID251

from time import process_time
from unittest import mock

import torch
from coremltools.optimize.torch.layerwise_compression.algorithms import GPTQ, ModuleGPTQConfig

from coreml_assay.numerics import Grid
from coreml_assay.numerics.gptq import GPTQSpec, Hessian, quantize
from coreml_assay.numerics.gptq.algorithm import quantize_with_factor
from coreml_assay.numerics.gptq.factor import factorize

from .interleaved import ratio

SPEC = GPTQSpec(Grid(4, signed=False, symmetric=True, all_codes=True), block_columns=128)
STAGES = ["hessian", "factor", "sweep", "whole"]
SIZES = [512, 1536]


def layer(n):
    """A weight, and 8 samples of 512 inputs whose columns are correlated."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(n, n, generator=generator) / n**0.5 + 0.5 * torch.eye(n)
    inputs = torch.randn(8, 512, n, generator=generator) @ mixing
    return torch.randn(n, n, generator=generator) / n**0.5, inputs


def hessian_of(inputs):
    hessian = Hessian(inputs.shape[-1])
    for sample in inputs:
        hessian.update(sample)
    return hessian


def reference(stage, weight, inputs):
    hessian = hessian_of(inputs)
    factor = factorize(hessian.lower, SPEC.hessian_dampening, False)
    return {
        "hessian": lambda: hessian_of(inputs),
        "factor": lambda: factorize(hessian.lower, SPEC.hessian_dampening, False),
        "sweep": lambda: quantize_with_factor(weight, factor, SPEC),
        "whole": lambda: quantize(weight, hessian_of(inputs), SPEC),
    }[stage]


def coremltools(stage, weight, inputs):
    """The same stages of coremltools, which has the last two in one method.

    Its factor is two Cholesky decompositions with an inverse between; to time the sweep alone, the
    functions it calls for those hand over the finished factor.
    """
    n = len(weight)
    matrix = hessian_of(inputs).matrix
    matrix.diagonal().add_(SPEC.hessian_dampening * matrix.diagonal().mean())

    def new():
        linear = torch.nn.Linear(n, n, bias=False).requires_grad_(False)
        linear.weight.data = weight.clone()
        return GPTQ(linear, ModuleGPTQConfig(weight_dtype="uint4", block_size=128))

    def hessian():
        algorithm = new()
        for sample in inputs:
            algorithm.add_batch(sample, sample)
        return algorithm

    def factor():
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        return torch.linalg.cholesky(inverse, upper=True)

    finished = factor()

    def sweep():
        algorithm = new()
        algorithm.add_batch(inputs[0, :1], inputs[0, :1])  # it looks at them when it is done
        algorithm._hessian = matrix.clone()
        with (
            mock.patch.object(torch.linalg, "cholesky", return_value=finished),
            mock.patch.object(torch, "cholesky_inverse", return_value=finished),
        ):
            algorithm._compress_impl()

    def whole():
        hessian()._compress_impl()

    return {"hessian": hessian, "factor": factor, "sweep": sweep, "whole": whole}[stage]


IMPLEMENTATIONS = {"reference": reference, "coremltools": coremltools}


class Stage:
    params = [list(IMPLEMENTATIONS), STAGES, SIZES]
    param_names = ["implementation", "stage", "n"]
    timer = process_time
    rounds = 1
    repeat = (2, 4, 1.0)
    warmup_time = 0.0

    def setup(self, implementation, stage, n):
        torch.set_num_threads(1)
        self.call = IMPLEMENTATIONS[implementation](stage, *layer(n))

    def time_stage(self, *_):
        self.call()


class WholeMemory:
    params = [list(IMPLEMENTATIONS), SIZES]
    param_names = ["implementation", "n"]

    def setup(self, implementation, n):
        torch.set_num_threads(1)
        self.call = IMPLEMENTATIONS[implementation]("whole", *layer(n))

    def peakmem_whole(self, *_):
        self.call()


class StageRatio:
    """The reference's CPU time, in times of coremltools'."""

    params = [STAGES, SIZES]
    param_names = ["stage", "n"]

    def setup(self, stage, n):
        torch.set_num_threads(1)
        self.ours, self.theirs = (make(stage, *layer(n)) for make in IMPLEMENTATIONS.values())

    def track_ratio(self, *_):
        return ratio(self.ours, self.theirs, pairs=3)

    track_ratio.unit = "times the other"
