"""Rounding one weight to nearest: the reference, coremltools, and torchao where it is installed."""

# asv reads lists.
# ruff: noqa: RUF012

from time import process_time

import numpy as np

from coreml_assay.implementations import load_implementation
from coreml_assay.implementations.protocol import WeightSpec
from coreml_assay.numerics import Grid, per_block, per_channel, per_tensor

from .interleaved import ratio
from .peers import torchao_rounding

SPECS = {
    "int8 per tensor": WeightSpec(Grid(8, signed=True, symmetric=True), per_tensor(2)),
    "int8 per channel": WeightSpec(Grid(8, signed=True, symmetric=True), per_channel(2, 0)),
    "uint8 affine per channel": WeightSpec(
        Grid(8, signed=False, symmetric=False), per_channel(2, 0)
    ),
    "int4 block 32": WeightSpec(Grid(4, signed=True, symmetric=True), per_block(2, 0, 1, 32)),
    "int4 affine block 32": WeightSpec(
        Grid(4, signed=True, symmetric=False), per_block(2, 0, 1, 32)
    ),
}
PEERS = ["coremltools", "torchao"]
DTYPES = ["float16", "float32"]
SIZES = [512, 2048]


def weight_of(dtype, size):
    return np.random.default_rng(0).standard_normal((size, size), np.float32).astype(dtype)


def rounding(implementation, weight, spec):
    """A call that rounds the weight; NotImplementedError, where it cannot, makes asv skip it."""
    if implementation == "torchao":
        return torchao_rounding(weight, spec)
    loaded = load_implementation(implementation)
    return lambda: loaded.quantize_weight(weight, spec)


class Round:
    params = [["reference", *PEERS], DTYPES, list(SPECS), SIZES]
    param_names = ["implementation", "dtype", "codes", "size"]
    timer = process_time
    rounds = 1
    repeat = (3, 10, 0.3)
    warmup_time = 0.0
    sample_time = 0.02

    def setup(self, implementation, dtype, codes, size):
        self.call = rounding(implementation, weight_of(dtype, size), SPECS[codes])

    def time_round(self, *_):
        self.call()


class RoundMemory:
    params = [["reference", *PEERS], ["float32"], list(SPECS), [4096]]
    param_names = Round.param_names

    def setup(self, implementation, dtype, codes, size):
        self.call = rounding(implementation, weight_of(dtype, size), SPECS[codes])

    def peakmem_round(self, *_):
        self.call()


class RoundRatio:
    """The reference's CPU time, in times of another implementation's."""

    params = [PEERS, DTYPES, list(SPECS), SIZES]
    param_names = Round.param_names

    def setup(self, implementation, dtype, codes, size):
        weight = weight_of(dtype, size)
        self.theirs = rounding(implementation, weight, SPECS[codes])
        self.ours = rounding("reference", weight, SPECS[codes])

    def track_ratio(self, *_):
        return ratio(self.ours, self.theirs)

    track_ratio.unit = "times the other"
