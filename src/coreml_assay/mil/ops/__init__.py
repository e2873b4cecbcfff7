"""The operations that the evaluator knows, one function each, by the name of their type.

Each is a reading of the operation's documentation, which its parameters are named after; one
function serves all opset versions. `OPERATIONS` act on tensors while a program runs,
`CONSTANT_OPERATIONS` on numpy arrays when it is prepared. ``docs/operations.md`` lists them with
what each is checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from coreml_assay.mil.constexpr import DECOMPRESSIONS, Decompression
from coreml_assay.mil.ops._arguments import Operation
from coreml_assay.mil.ops.activation import ACTIVATION
from coreml_assay.mil.ops.control_flow import CONTROL_FLOW
from coreml_assay.mil.ops.conv import CONV
from coreml_assay.mil.ops.detection import DETECTION
from coreml_assay.mil.ops.elementwise_binary import ELEMENTWISE_BINARY
from coreml_assay.mil.ops.elementwise_unary import ELEMENTWISE_UNARY
from coreml_assay.mil.ops.image_resizing import IMAGE_RESIZING
from coreml_assay.mil.ops.linear import LINEAR
from coreml_assay.mil.ops.normalization import NORMALIZATION
from coreml_assay.mil.ops.pool import POOL
from coreml_assay.mil.ops.quantization import QUANTIZATION
from coreml_assay.mil.ops.random import RANDOM
from coreml_assay.mil.ops.recurrent import RECURRENT
from coreml_assay.mil.ops.reduction import REDUCTION
from coreml_assay.mil.ops.scatter_gather import SCATTER_GATHER
from coreml_assay.mil.ops.tensor_operation import TENSOR_OPERATION
from coreml_assay.mil.ops.tensor_transformation import TENSOR_TRANSFORMATION

__all__ = ["CONSTANT_OPERATIONS", "FAMILIES", "OPERATIONS", "Decompression", "Operation"]

FAMILIES: Mapping[str, Mapping[str, Operation]] = MappingProxyType(
    {
        "activation": ACTIVATION,
        "control flow, lists, states": CONTROL_FLOW,
        "convolution": CONV,
        "detection": DETECTION,
        "elementwise, binary": ELEMENTWISE_BINARY,
        "elementwise, unary": ELEMENTWISE_UNARY,
        "image resizing": IMAGE_RESIZING,
        "linear": LINEAR,
        "normalization": NORMALIZATION,
        "pooling": POOL,
        "quantization": QUANTIZATION,
        "random": RANDOM,
        "recurrent": RECURRENT,
        "reduction": REDUCTION,
        "scatter and gather": SCATTER_GATHER,
        "tensor operation": TENSOR_OPERATION,
        "tensor transformation": TENSOR_TRANSFORMATION,
    }
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {name: function for family in FAMILIES.values() for name, function in family.items()}
)

CONSTANT_OPERATIONS: Mapping[str, Decompression] = MappingProxyType(DECOMPRESSIONS)
