"""What checks of LayerwiseCompressor share: compress a model from data, look at its weights.

A model and its calibration samples are given as Python text, so that a failure shows exactly what
was run.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import coremltools as ct
import numpy as np

from coreml_assay.conformance.subject import HEADER, Subject, literal
from coreml_assay.conformance.torch_quantizing import (
    TORCH,
    Compressed,
    Config,
    build,
    listening,
    python_of,
    torch,
)
from coreml_assay.implementations import Unsupported
from coreml_assay.implementations.torch_models import TorchWeight, torch_weights
from coreml_assay.mil.stored import stored_weights
from coreml_assay.numerics import QuantizationParameters, QuantizedWeight, dequantize
from coreml_assay.numerics.blocks import Array, split_shape, spread


def namespace(subject: Subject) -> Any:
    """The implementation's optimize.torch.layerwise_compression, if it has one."""
    if not hasattr(subject.torch, "layerwise_compression"):
        raise Unsupported(f"{subject.implementation.name} has no LayerwiseCompressor")
    return subject.torch.layerwise_compression


def gptq(**options: Any) -> Config:
    """A configuration with the same options for every layer."""
    return {"global_config": {"algorithm": "gptq", **options}}


def random_data(*shape: int, samples: int = 4, seed: int = 0) -> list[Array]:
    """Calibration samples whose features are correlated, as those of real layers are."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((shape[-1], shape[-1])) / np.sqrt(shape[-1])
    return [(rng.standard_normal(shape) @ mixing + 0.3).astype(np.float32) for _ in range(samples)]


def random_weight(rows: int, columns: int, seed: int = 0) -> Array:
    """A weight of ordinary magnitudes."""
    rng = np.random.default_rng([1, seed])
    return (rng.standard_normal((rows, columns)) / 4).astype(np.float32)


def linear(weight: Array) -> str:
    """The source of a Linear layer, inside a model, with a weight."""
    rows, columns = weight.shape
    return (
        f"model = torch.nn.Sequential(torch.nn.Linear({columns}, {rows}))\n"
        f"model[0].weight.data = torch.from_numpy({literal(weight)})"
    )


def samples_of(data: Sequence[Array]) -> str:
    """Python whose value is the samples."""
    return f"[{', '.join(f'torch.from_numpy({literal(sample)})' for sample in data)}]"


def compress(
    subject: Subject,
    source: str,
    config: Config,
    data: str,
    *,
    arguments: str = ", device='cpu'",
) -> Compressed:
    """Run the implementation's LayerwiseCompressor.

    Args:
        subject: the implementation.
        source: Python that makes a ``model``.
        config: as LayerwiseCompressorConfig.from_dict takes it.
        data: Python whose value is the samples.
        arguments: further ones of compress, as Python.
    """
    config_source = f"compression.LayerwiseCompressorConfig.from_dict({python_of(config)})"
    return run(subject, source, config_source, data, arguments)


def run(
    subject: Subject, source: str, config: str, data: str, arguments: str = ", device='cpu'"
) -> Compressed:
    """The same, the configuration being Python over ``compression`` and ``model``."""
    steps = (
        f"compressor = compression.LayerwiseCompressor(model, {config})\n"
        f"found = compressor.compress({data}{arguments})\n"
    )
    subject.use_snippet(
        f"{TORCH}{source}\ncompression = cto.torch.layerwise_compression\n{steps}"
        "print(found.state_dict(), compressor.report())\n"
    )
    compression = namespace(subject)
    given = build(source)
    before = torch_weights(given)
    scope: dict[str, Any] = {"model": given, "compression": compression}
    with subject.recording(), listening() as messages:
        exec(f"{HEADER}import torch\n{steps}", scope)
        weights = torch_weights(scope["found"])
        report = dict(scope["compressor"].report())
    return Compressed(given, before, scope["found"], weights, report, "\n".join(messages))


def expect_compressed(subject: Subject, found: Compressed, name: str) -> TorchWeight:
    """Fail unless a parameter is quantized; returns it."""
    weight = found.weights[name]
    subject.expect(weight.is_quantized, f"{name} is not quantized", "a scale", None)
    return weight


def expect_converted(
    subject: Subject, found: Compressed, shape: tuple[int, ...], target: str
) -> None:
    """Fail unless the converted model holds exactly the first layer's weight.

    Args:
        subject: the implementation.
        found: what was compressed.
        shape: of the model's input.
        target: the deployment target's name.
    """
    with subject.recording(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's tracer and coremltools warn about each other
        program: Any = ct.convert(
            torch.jit.trace(found.model.eval(), torch.zeros(shape)),
            inputs=[ct.TensorType(shape=shape)],
            minimum_deployment_target=ct.target[target],
            convert_to="milinternal",
            compute_precision=ct.precision.FLOAT32,
        )
        stored = [each for each in stored_weights(program).values() if each.op_type != "const"]
    weight = found.weights["0.weight"].values
    # Values of a palettized weight's look-up table are compressed on their own, too.
    converted = next((each.values for each in stored if each.values.shape == weight.shape), None)
    subject.expect_equal(converted, weight, "the compressed weight in the program")


def zero_points(weight: TorchWeight) -> Array:
    """The zero points as float64, zeros where there are none."""
    assert weight.scale is not None, "the weight is not quantized"
    if weight.zero_point is None:
        return np.zeros(weight.scale.shape)
    return weight.zero_point.astype(np.float64)


def nearest(weight: Array, found: TorchWeight, bits: int) -> Array:
    """The codes that rounding to nearest gives with the scales and zero points found."""
    assert found.scale is not None, "the weight is not quantized"
    split = weight.reshape(split_shape(weight.shape, found.scale.shape))
    # In float32, as the weight is: symmetric scales put the largest weight between two codes.
    codes = np.rint(split / spread(found.scale)) + spread(zero_points(found))
    clipped: Array = np.clip(codes, 0, 2**bits - 1).astype(np.int64)
    return clipped.reshape(weight.shape)


def hessian(data: Sequence[Array]) -> Array:
    """H = (2 / N) sum of x x^T, in float64."""
    inputs = np.concatenate([sample.reshape(-1, sample.shape[-1]) for sample in data])
    wide = inputs.astype(np.float64)
    found: Array = 2 / len(data) * wide.T @ wide
    return found


def proxy_loss(before: Array, after: Array, H: Array) -> float:
    """tr((W - W') H (W - W')^T)."""
    return float(proxy_losses(before, after, H).sum())


def proxy_losses(before: Array, after: Array, H: Array) -> Array:
    """The diagonal of (W - W') H (W - W')^T, the loss of each row."""
    error = before.astype(np.float64) - after
    found: Array = ((error @ H) * error).sum(axis=1)
    return found


def values_of(found: QuantizedWeight) -> Array:
    """What codes stand for, in float64."""
    return dequantize(
        found.codes, QuantizationParameters(found.scale.astype(np.float64), found.zero_point)
    )


def losses(subject: Subject, weight: Array, data: Sequence[Array], **options: Any) -> float:
    """The proxy loss of what an implementation makes of a weight."""
    found = compress(subject, linear(weight), gptq(**options), samples_of(data))
    return proxy_loss(weight, expect_compressed(subject, found, "0.weight").values, hessian(data))
