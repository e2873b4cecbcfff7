"""Quantizing one constant of a program: whether, in which blocks, and as which operation."""

from __future__ import annotations

from typing import Any, cast

import attrs
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from coreml_assay.mil.constexpr import is_constexpr
from coreml_assay.mil.program import IOS18, Operation, replace_operation
from coreml_assay.numerics import (
    BlockShape,
    QuantizedWeight,
    block_shape_problem,
    per_block,
    per_channel,
    per_tensor,
    round_to_nearest,
)
from coreml_assay.numerics.blocks import Array
from coreml_assay.optimize.coreml.config import (
    CompressionGranularity,
    OpCompressorConfig,
    OpLinearQuantizerConfig,
    OptimizationConfig,
)
from coreml_assay.optimize.coreml.report import CompressedWeight
from coreml_assay.optimize.coreml.selection import (
    channel_axes,
    config_of_constant,
    final_consumers,
)

_STORED_IN_WEIGHT_FILE = 10  # constants with fewer elements are written into the graph itself
_WEIGHT_DTYPES = ("float16", "float32", "int8", "uint8")

# Which inputs of which compressed constants can be quantized once more.
_JOINT_INPUTS = {
    "constexpr_lut_to_dense": "lut",
    "constexpr_lut_to_sparse": "lut",
    "constexpr_sparse_to_dense": "nonzero_data",
}


class SkipWeight(Exception):  # noqa: N818 - not an error: the weight is left as it is
    """A weight is left as it is; the message is the reason, for the report."""


def since_ios18(what: str) -> str:
    """The message for what a model older than iOS18 cannot hold."""
    return (
        f"{what} supported since iOS18. Please re-convert your model with "
        "minimum_deployment_target set to at least ct.target.iOS18."
    )


@attrs.frozen
class WeightQuantizer:
    """Quantizes the constants of one function, each by the configuration that applies to it.

    Attributes:
        config: the whole configuration.
        joint_compression: whether to quantize inside weights that are compressed already.
        version: the function's opset, as a specification version.
    """

    config: OptimizationConfig
    joint_compression: bool
    version: int

    def is_candidate(self, operation: Operation) -> bool:
        """Whether an operation is a weight, to be quantized or to be named as skipped.

        Raises:
            SkipWeight: it is a weight that is compressed already.
        """
        if is_constexpr(operation):
            if not (self.joint_compression and operation.op_type in _JOINT_INPUTS):
                raise SkipWeight(f"it is compressed already ({operation.op_type})")
            return False
        if operation.op_type != "const":
            return False
        value = operation.outputs[0].val
        if not isinstance(value, np.ndarray) or value.dtype not in _WEIGHT_DTYPES:
            return False
        if any(is_constexpr(child) for child in operation.outputs[0].child_ops):
            return self._joint_consumer(operation) is not None
        return value.size >= _STORED_IN_WEIGHT_FILE

    def quantize(self, constant: Operation) -> CompressedWeight:
        """Put a quantized weight in the place of a constant.

        Raises:
            SkipWeight: the weight is left as it is.
            ValueError, NotImplementedError: as `linear_quantize_weights`.
        """
        config = self._applicable_config(constant)
        self._check_target(config)
        weight = constant.outputs[0].val
        if not np.isfinite(weight).all():
            kind = "NaN" if np.isnan(weight).any() else "infinite values"
            raise SkipWeight(f"it holds {kind}")
        consumer = self._joint_consumer(constant)
        mask = None
        if consumer is not None:
            _check_joint(consumer, config)
            if consumer.op_type == "constexpr_sparse_to_dense":
                mask = consumer.mask.val
                weight = _dense(weight, mask)
        block_shape = self._block_shape(constant, weight, config)
        quantized = round_to_nearest(weight, config.grid, block_shape)
        # A view that bears the name of the 4-bit type, which numpy itself does not know.
        named = types.nptype_from_builtin(config.dtype)
        codes, scale, zero_point = quantized
        quantized = QuantizedWeight(
            codes.view(named), scale, None if zero_point is None else zero_point.view(named)
        )
        replace_operation(constant, [self._emit(constant, quantized, consumer, mask)])
        return CompressedWeight(weight.shape, config.grid.name, config.mode, block_shape)

    def _applicable_config(self, constant: Operation) -> OpLinearQuantizerConfig:
        weight = constant.outputs[0].val
        if not final_consumers(constant):
            raise SkipWeight("it feeds nothing but an output of the program")
        size = self._decompressed_size(constant)

        def would_compress(entry: OpCompressorConfig) -> bool:
            threshold = cast(OpLinearQuantizerConfig, entry).weight_threshold
            return threshold is None or size > threshold

        config = config_of_constant(self.config, constant, would_compress)
        if config is None:
            raise SkipWeight("no configuration applies to it")
        if not np.issubdtype(weight.dtype, np.floating):
            raise SkipWeight(f"it holds integers ({weight.dtype})")
        if weight.ndim <= 1 and self._joint_consumer(constant) is None:
            raise SkipWeight(f"it has rank {weight.ndim}; only rank 2 and above is quantized")
        if weight.size < _STORED_IN_WEIGHT_FILE:
            raise SkipWeight(f"it has {weight.size} elements, stored in the graph itself")
        if not would_compress(config):
            threshold = cast(OpLinearQuantizerConfig, config).weight_threshold
            raise SkipWeight(f"its {size} elements do not exceed weight_threshold {threshold}")
        return cast(OpLinearQuantizerConfig, config)

    def _check_target(self, config: OpLinearQuantizerConfig) -> None:
        if self.version >= IOS18:
            return
        if config.granularity is CompressionGranularity.PER_BLOCK:
            raise ValueError(since_ios18("The per_block quantization is"))
        if config.nbits == 4:
            raise ValueError(since_ios18("The 4-bit quantization is"))

    def _block_shape(
        self, constant: Operation, weight: Array, config: OpLinearQuantizerConfig
    ) -> BlockShape:
        rank = weight.ndim
        if config.granularity is CompressionGranularity.PER_BLOCK and not isinstance(
            config.block_size, int
        ):
            block_shape = tuple(config.block_size or ())
            if len(block_shape) != rank:
                raise ValueError(
                    f"block_size must have one element for each axis of the weight, but "
                    f"{constant.name} has {rank} axes and block_size "
                    f"{config.block_size} has {len(block_shape)} elements"
                )
        else:
            axes = channel_axes(constant)
            if axes is None:
                raise SkipWeight("the ops that consume it disagree on its channel axes")
            if config.granularity is CompressionGranularity.PER_TENSOR:
                block_shape = per_tensor(rank)
            elif config.granularity is CompressionGranularity.PER_CHANNEL:
                block_shape = per_channel(rank, axes.output)
            else:
                block_shape = per_block(rank, axes.output, axes.input, config.block_size)
        if problem := block_shape_problem(weight.shape, block_shape):
            raise SkipWeight(problem)
        return block_shape

    def _emit(
        self,
        constant: Operation,
        quantized: QuantizedWeight,
        consumer: Operation | None,
        mask: Array | None,
    ) -> Any:
        """Write the operation that stands for the weight, and return its output."""
        name = f"{constant.name}_quantized"
        codes, scale, zero_point = quantized
        if mask is not None and consumer is not None:
            _, nonzero_data = mb.constexpr_sparse_blockwise_shift_scale(
                data_mask=consumer.mask,
                nonzero_data=codes[mask != 0],
                scale=scale,
                offset=zero_point,
                before_op=consumer,
                name=name,
            )
            return nonzero_data
        if self.version >= IOS18:
            return mb.constexpr_blockwise_shift_scale(
                data=codes, scale=scale, offset=zero_point, before_op=constant, name=name
            )
        axis = next((i for i, count in enumerate(scale.shape) if count > 1), 0)
        if zero_point is None:
            zero_point = np.zeros(scale.shape, codes.dtype)
        return mb.constexpr_affine_dequantize(
            quantized_data=codes,
            zero_point=np.squeeze(zero_point),
            scale=np.squeeze(scale),
            axis=np.int32(axis),
            before_op=constant,
            name=name,
        )

    def _joint_consumer(self, constant: Operation) -> Operation | None:
        """The compressed constant inside which this one may be quantized, if there is one."""
        consumers = constant.outputs[0].child_ops
        if not self.joint_compression or len(consumers) != 1:
            return None
        name = _JOINT_INPUTS.get(consumers[0].op_type)
        is_that_input = name is not None and consumers[0].inputs[name] is constant.outputs[0]
        return consumers[0] if is_that_input else None

    def _decompressed_size(self, operation: Operation) -> int:
        """Elements of the weight; for part of a compressed one, of what it stands for."""
        consumers = operation.outputs[0].child_ops if self.joint_compression else []
        if consumers and is_constexpr(consumers[0]):
            return self._decompressed_size(consumers[0])
        return int(np.prod(operation.outputs[0].shape))


def _check_joint(consumer: Operation, config: OpLinearQuantizerConfig) -> None:
    if (
        consumer.op_type.startswith("constexpr_lut_to_")
        and config.granularity is not CompressionGranularity.PER_TENSOR
    ):
        raise NotImplementedError(
            "When use joint compression for palettization-quantization, please make sure to use "
            "per-tensor quantization: a look-up table has other axes than the weight"
        )


def _dense(nonzero_data: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense
