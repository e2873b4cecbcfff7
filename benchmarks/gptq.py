"""GPTQ on square layers: Hessian, factor, sweep, and all of it; uint4 in blocks of 128."""

# asv reads lists, and coremltools is what we compare with.
# ruff: noqa: RUF012, TID251

import torch
from coremltools.optimize.torch.layerwise_compression.algorithms import GPTQ, ModuleGPTQConfig

from coreml_assay.numerics import Grid
from coreml_assay.numerics.gptq import GPTQSpec, Hessian, quantize
from coreml_assay.numerics.gptq.algorithm import quantize_with_factor
from coreml_assay.numerics.gptq.factor import factorize

SPEC = GPTQSpec(Grid(4, signed=False, symmetric=True, all_codes=True), block_columns=128)


def layer(n):
    """A weight, and 8 samples of 512 inputs whose columns are correlated."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(n, n, generator=generator) / n**0.5 + 0.5 * torch.eye(n)
    inputs = torch.randn(8, 512, n, generator=generator) @ mixing
    return torch.randn(n, n, generator=generator) / n**0.5, inputs


class Parts:
    params = [1024, 2048]
    param_names = ["n"]

    def setup(self, n):
        torch.set_num_threads(1)
        self.weight, self.inputs = layer(n)
        hessian = Hessian(n)
        hessian.update(self.inputs)
        self.hessian = hessian.matrix
        self.factor = factorize(self.hessian, SPEC.hessian_dampening, False)

    def time_hessian(self, n):
        Hessian(n).update(self.inputs)

    def time_factor(self, n):
        factorize(self.hessian, SPEC.hessian_dampening, False)

    def time_sweep(self, n):
        quantize_with_factor(self.weight, self.factor, SPEC)


class Whole:
    params = [["reference", "coremltools"], [1024, 2048]]
    param_names = ["implementation", "n"]

    def setup(self, implementation, n):
        torch.set_num_threads(1)
        self.weight, self.inputs = layer(n)

    def time_quantize(self, implementation, n):
        if implementation == "reference":
            hessian = Hessian(n)
            for sample in self.inputs:
                hessian.update(sample)
            quantize(self.weight, hessian.matrix, SPEC)
            return
        linear = torch.nn.Linear(n, n, bias=False).requires_grad_(False)
        linear.weight.data = self.weight.clone()
        algorithm = GPTQ(linear, ModuleGPTQConfig(weight_dtype="uint4", block_size=128))
        for sample in self.inputs:
            algorithm.add_batch(sample, sample)
        algorithm._compress_impl()
