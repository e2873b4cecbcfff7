"""A quantizer as a newcomer writes it after README and docs/implementations.md, faults and all."""

import numpy as np

from coreml_assay.implementations import Unsupported


class Newcomer:
    name = "newcomer"
    version = "0.1"

    def quantize_weight(self, weight, spec):
        if not (spec.grid.signed and spec.grid.symmetric):
            raise Unsupported("only signed symmetric codes")
        sizes = [size or length for size, length in zip(spec.block_shape, weight.shape)]
        counts = [length // size for size, length in zip(sizes, weight.shape)]
        whole = weight[tuple(slice(n * size) for n, size in zip(counts, sizes))]
        blocks = whole.reshape([each for pair in zip(counts, sizes) for each in pair])
        within = tuple(range(1, blocks.ndim, 2))
        lowest, highest = -(2 ** (spec.grid.bits - 1)), 2 ** (spec.grid.bits - 1) - 1
        scale = np.abs(blocks).max(axis=within, keepdims=True) / -lowest
        codes = np.clip(np.floor(blocks / scale + 0.5), lowest, highest)
        return codes.reshape(whole.shape).astype(np.int8), scale.reshape(counts), None
