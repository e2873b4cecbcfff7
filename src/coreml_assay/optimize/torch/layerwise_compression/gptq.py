"""GPTQ for layers: from a module's configuration and inputs to codes and metadata.

The mathematics is `coreml_assay.numerics.gptq`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import attrs
import torch

from coreml_assay.numerics import Grid
from coreml_assay.numerics.gptq import GPTQResult, GPTQSpec, Hessian, quantize
from coreml_assay.optimize.torch._metadata import register_palettization, register_quantization
from coreml_assay.optimize.torch.layerwise_compression._columns import (
    CONVOLUTIONS,
    groups_of,
    input_columns,
    weight_columns,
)
from coreml_assay.optimize.torch.layerwise_compression.algorithms import (
    LayerwiseCompressionAlgorithm,
    LayerwiseCompressionAlgorithmConfig,
)
from coreml_assay.optimize.torch.optimization_config import (
    QuantizationGranularity,
    QuantizationScheme,
)

_WEIGHT_DTYPES: dict[Any, tuple[torch.dtype, int]] = {
    **{f"uint{bits}": (torch.uint8, bits) for bits in (3, 4, 8)},
    **{f"int{bits}": (torch.int8, bits) for bits in (3, 4, 8)},
    "float32": (torch.float32, 32),
    **{bits: (torch.uint8, bits) for bits in (3, 4, 8)},
    torch.uint8: (torch.uint8, 8),
    torch.int8: (torch.int8, 8),
    torch.float32: (torch.float32, 32),
}


def _set_weight_dtype(
    config: ModuleGPTQConfig, _attribute: attrs.Attribute[Any], value: Any
) -> torch.dtype:
    """Keep ``weight_n_bits`` in step with ``weight_dtype``."""
    try:
        dtype, n_bits = _WEIGHT_DTYPES[value]
    except (KeyError, TypeError):
        accepted = ", ".join(map(str, _WEIGHT_DTYPES))
        raise ValueError(f"weight_dtype must be one of {accepted}, got {value!r}") from None
    object.__setattr__(config, "weight_n_bits", n_bits)
    return dtype


def _check_size(_config: Any, attribute: attrs.Attribute[Any], size: Any) -> None:
    if size is None and attribute.name == "block_size":
        return
    if type(size) is not int:
        raise TypeError(f"{attribute.name} must be an int, got {size!r}")
    if size < 1:
        raise ValueError(f"{attribute.name} must be at least 1, got {size}")


def _check_dampening(_config: Any, attribute: attrs.Attribute[Any], share: Any) -> None:
    if type(share) not in (int, float):
        raise TypeError(f"{attribute.name} must be a number, got {share!r}")
    if not 0 <= share < math.inf:
        raise ValueError(f"{attribute.name} must be finite and at least 0, got {share}")


@LayerwiseCompressionAlgorithmConfig.register("gptq")
@attrs.define
class ModuleGPTQConfig(LayerwiseCompressionAlgorithmConfig):
    """How to quantize the weight of a layer with GPTQ.

    Args:
        weight_dtype: "uint3", "uint4", "uint8", "int3", "int4", "int8", torch.uint8, torch.int8,
            or a number of bits, which means unsigned codes; "float32" or torch.float32 leaves the
            layer as it is. Stored as a torch dtype.
        granularity: a `QuantizationGranularity` or its name. "per_block" without a block_size is
            "per_channel", and any granularity with one is by block: both warn.
        quantization_scheme: a `QuantizationScheme` or its name. Symmetric ranges are
            [-max|w|, max|w|], with all codes: the zero point is 2**(bits - 1) unsigned, else 0.
        block_size: how many input channels share a scale; a layer whose input channels (of one
            group) it does not divide is skipped.
        enable_normal_float: 3 or 4 bits as the quantiles of a normal distribution.
        hessian_dampening: what is added to the Hessian's diagonal, as a share of its mean.
        use_activation_order_heuristic: round the columns with the largest inputs first.
        processing_group_size: columns that are compensated one by one before the others are.
        algorithm: "gptq".
        static_scales: take every block's scale from the original weights. An extension.
        scale_search: shrink each scale to where the weighted rounding error is least. An
            extension.

    Attributes:
        weight_n_bits: width of a code; 32 for float32.

    Raises:
        TypeError: a size, a share or a switch of another type.
        ValueError: a value that is none of the accepted ones, or normal float with 8 bits.

    Warns:
        UserWarning: granularity and block_size contradict each other.

    Source: API reference of ``ModuleGPTQConfig``.
    """

    weight_dtype: Any = attrs.field(default="uint8", on_setattr=_set_weight_dtype)
    weight_n_bits: int = attrs.field(init=False, on_setattr=attrs.setters.frozen)
    granularity: QuantizationGranularity = attrs.field(
        default=QuantizationGranularity.per_channel, converter=QuantizationGranularity
    )
    quantization_scheme: QuantizationScheme = attrs.field(
        default=QuantizationScheme.symmetric, converter=QuantizationScheme
    )
    block_size: int | None = attrs.field(default=None, validator=_check_size)
    enable_normal_float: bool = attrs.field(
        default=False, validator=attrs.validators.instance_of(bool)
    )
    hessian_dampening: float = attrs.field(default=0.01, validator=_check_dampening)
    use_activation_order_heuristic: bool = attrs.field(
        default=False, validator=attrs.validators.instance_of(bool)
    )
    processing_group_size: int = attrs.field(default=128, validator=_check_size)
    algorithm: str = attrs.field(default="gptq", validator=attrs.validators.in_(("gptq",)))
    static_scales: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    scale_search: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        self.weight_dtype = self.weight_dtype
        if self.enable_normal_float and self.weight_n_bits not in (3, 4):
            raise ValueError(
                f"enable_normal_float needs 3 or 4 bits, got weight_dtype {self._code_type()}"
            )
        by_block = self.granularity is QuantizationGranularity.per_block
        if by_block and self.block_size is None:
            warnings.warn(
                "granularity per_block without a block_size is taken as per_channel",
                UserWarning,
                stacklevel=3,
            )
        if not by_block and self.block_size is not None:
            warnings.warn(
                f"block_size {self.block_size} with granularity {self.granularity.value} is taken "
                "as per_block",
                UserWarning,
                stacklevel=3,
            )

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments as plain data, which `from_dict` accepts."""
        return {**super().as_dict(), "weight_dtype": self._code_type()}

    def _code_type(self) -> str:
        """The name of ``weight_dtype`` that tells the bits."""
        if self.weight_dtype is torch.float32:
            return "float32"
        sign = "u" if self.weight_dtype is torch.uint8 else ""
        return f"{sign}int{self.weight_n_bits}"


@LayerwiseCompressionAlgorithm.register("gptq")
class GPTQ(LayerwiseCompressionAlgorithm):
    """Quantizes one convolution or `torch.nn.Linear` with GPTQ.

    Each group of a grouped convolution is a matrix of its own, with its own Hessian; "per_tensor"
    then gives each group a scale.

    Args:
        layer: a Conv1d, Conv2d, Conv3d or Linear of any floating-point dtype.
        config: how.

    Raises:
        ValueError: the weight holds NaN or infinities, or the block size does not divide the
            input channels of a group.
    """

    def __init__(self, layer: torch.nn.Module, config: ModuleGPTQConfig) -> None:
        self._layer: Any = layer
        self._config = config
        weight = self._layer.weight.detach()
        if not torch.isfinite(weight).all():
            raise ValueError("the weight holds NaN or infinities")
        if not weight.numel():
            raise ValueError(f"the weight of shape {tuple(weight.shape)} is empty")
        channels = weight.shape[1]
        if config.block_size is not None and channels % config.block_size:
            raise ValueError(
                f"block_size {config.block_size} does not divide the {channels} input channels"
                + (" of a group" if groups_of(layer) > 1 else "")
            )
        self._hessians = [
            Hessian(weight_columns(layer), weight.device) for _ in range(groups_of(layer))
        ]
        self._raised: float | None = None

    def add_batch(self, inp: torch.Tensor, out: torch.Tensor) -> None:
        """Add inputs to the Hessian, as one sample.

        Raises:
            GPTQError: they hold NaN or infinities.
        """
        del out
        for hessian, columns in zip(self._hessians, input_columns(self._layer, inp), strict=True):
            hessian.update(columns.float())

    def compress(self) -> None:
        """Quantize the weight.

        Raises:
            GPTQError: no input was seen, or the Hessian cannot be made positive definite.

        Warns:
            UserWarning: more dampening was needed than asked for.
        """
        weight = self._layer.weight.detach()
        matrices = weight.float().flatten(1).chunk(len(self._hessians))
        spec = self._spec()
        results = [
            quantize(matrix.contiguous(), hessian, spec)
            for matrix, hessian in zip(matrices, self._hessians, strict=True)
        ]
        if any(result.dampening_raised for result in results):
            self._raised = max(result.dampening for result in results)
        restored = torch.cat([result.weight for result in results]).reshape(weight.shape)
        # New storage rather than a copy into the old: the old one may be another parameter's too.
        self._layer.weight.data = torch.empty_like(weight).copy_(restored)
        self._register(results)

    def cleanup(self) -> None:
        """Let go of the Hessian."""
        self._hessians = []

    def summary(self) -> dict[str, Any]:
        """The code type, and the dampening where more was needed than asked for."""
        found: dict[str, Any] = {"dtype": f"dtype={self._config._code_type()}"}
        return found if self._raised is None else {**found, "dampening": self._raised}

    def _spec(self) -> GPTQSpec:
        config = self._config
        kernel = math.prod(self._layer.kernel_size) if isinstance(self._layer, CONVOLUTIONS) else 1
        symmetric = config.quantization_scheme is QuantizationScheme.symmetric
        return GPTQSpec(
            grid=Grid(config.weight_n_bits, False, symmetric, all_codes=True),
            per_tensor=config.granularity is QuantizationGranularity.per_tensor,
            block_columns=None if config.block_size is None else config.block_size * kernel,
            processing_group_size=config.processing_group_size,
            hessian_dampening=config.hessian_dampening,
            activation_order=config.use_activation_order_heuristic,
            static_scales=config.static_scales,
            scale_search=config.scale_search,
            normal_float=config.enable_normal_float,
        )

    def _register(self, results: list[GPTQResult]) -> None:
        """Register the metadata, parameters with the rank of the weight."""
        rest = (1,) * (self._layer.weight.ndim - 2)
        scale = torch.cat([result.scale for result in results])
        scale = scale.reshape(*scale.shape, *rest)
        lut = results[0].lut
        if lut is not None:
            shape = (1,) * self._layer.weight.ndim
            register_palettization(self._layer, "weight", lut.reshape(*shape, -1, 1), scale)
            return
        zero = torch.cat([result.zero_point for result in results]).reshape(scale.shape)
        signed = self._config.weight_dtype is torch.int8
        if signed:
            zero = zero - 2 ** (self._config.weight_n_bits - 1)
        kept = None if signed and not zero.any() else zero
        register_quantization(self._layer, "weight", self._config.weight_n_bits, scale, kept)
