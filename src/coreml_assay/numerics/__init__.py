"""The mathematics of quantization on arrays: grids, blocks, and three verbs.

`affine` is the oracle, written to be read; `rounding` is the fast form of the same formulas.
Nothing in here knows about models, files or configuration.
"""

from coreml_assay.numerics.affine import (
    QuantizationParameters,
    choose_qparams,
    dequantize,
    quantize,
)
from coreml_assay.numerics.blocks import (
    BlockShape,
    block_shape_problem,
    parameter_shape,
    per_block,
    per_channel,
    per_tensor,
)
from coreml_assay.numerics.grid import Grid
from coreml_assay.numerics.rounding import QuantizedWeight, round_to_nearest

__all__ = [
    "BlockShape",
    "Grid",
    "QuantizationParameters",
    "QuantizedWeight",
    "block_shape_problem",
    "choose_qparams",
    "dequantize",
    "parameter_shape",
    "per_block",
    "per_channel",
    "per_tensor",
    "quantize",
    "round_to_nearest",
]
