"""Golden cases of weight quantization, made with real coremltools."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.accuracy.weights import CONFIGURATIONS, prepare, quantize_with
from coreml_assay.goldens.store import GoldenError
from coreml_assay.goldens.weights import (
    ArrayCase,
    ModelCase,
    ProgramCase,
    TorchCase,
    WeightCases,
)
from coreml_assay.implementations import Face, WeightSpec, faces
from coreml_assay.implementations.torch_models import LAYERS, Layer, TorchWeight, torch_weights
from coreml_assay.mil.describe import describe
from coreml_assay.mil.program import load_program, open_package
from coreml_assay.mil.samples import CHANNELS, Weight, build_model
from coreml_assay.numerics import BlockShape, Grid, per_block, per_channel, per_tensor
from coreml_assay.numerics.blocks import Array

SEED = 20260101


def weight_cases(coremltools: Any, arrays: dict[str, Array]) -> WeightCases:
    """Quantize arrays, programs, shipped models and PyTorch layers with coremltools.

    Args:
        coremltools: the implementation.
        arrays: the arrays of the cases are added to it.

    Raises:
        GoldenError: a shipped model or torch is not installed.
    """
    rng = np.random.default_rng(SEED)
    return WeightCases(
        arrays=tuple(_array_cases(rng, coremltools, arrays)),
        programs=tuple(_program_cases(rng, coremltools, arrays)),
        models=tuple(_model_cases(coremltools)),
        torch=tuple(_torch_cases(np.random.default_rng([SEED, 1]), coremltools, arrays)),
    )


def _weight(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Values with structure: channels of different magnitude, some off-centre, one of zeros."""
    weight = rng.standard_normal(shape) * 10.0 ** rng.uniform(
        -1.5, 0.5, (shape[0], *[1] * (len(shape) - 1))
    )
    weight += rng.choice([0.0, 0.0, 1.5, -1.5])
    if rng.random() < 0.25:
        weight[0] = 0
    return weight.astype(dtype)


def _array_cases(
    rng: np.random.Generator, coremltools: Any, arrays: dict[str, Array]
) -> list[ArrayCase]:
    cases: list[ArrayCase] = []
    grids = [Grid(*kind) for kind in product((8, 4), (True, False), (True, False))]
    for grid, dtype, (shape, block_shape) in product(grids, ("float32", "float16"), _SHAPES):
        name = f"a{len(cases):03}"
        weight = _weight(rng, shape, dtype)
        found = coremltools.quantize_weight(weight, WeightSpec(grid, block_shape))
        arrays[f"{name}.weight"] = weight
        arrays[f"{name}.codes"] = found.codes.astype(grid.dtype)
        arrays[f"{name}.scale"] = found.scale
        if found.zero_point is not None:
            arrays[f"{name}.zero_point"] = found.zero_point.astype(grid.dtype)
        cases.append(
            ArrayCase(
                name=name,
                bits=grid.bits,
                signed=grid.signed,
                symmetric=grid.symmetric,
                block_shape=block_shape,
            )
        )
    return cases


_SHAPES: list[tuple[tuple[int, ...], BlockShape]] = [
    ((6, 20), per_tensor(2)),
    ((8, 16), per_channel(2, 0)),
    ((4, 6, 3), per_channel(3, 1)),
    ((4, 64), per_block(2, 0, 1, 16)),
    ((6, 4, 3, 3), per_block(4, 0, 1, 2)),
    ((2, 3, 4, 2, 2), (1, 0, 2, 0, 0)),
]


def _program_cases(
    rng: np.random.Generator, coremltools: Any, arrays: dict[str, Array]
) -> list[ProgramCase]:
    cases: list[ProgramCase] = []
    for target, options in _PROGRAMS:
        name = f"p{len(cases):02}"
        weights: list[tuple[str, str, str]] = []
        for consumer, (ranks, _) in CHANNELS.items():
            for rank in ranks:
                for dtype in ("float32",) if target == "iOS15" else ("float32", "float16"):
                    weight_name = f"w{len(weights):02}"
                    array = f"{name}.{weight_name}"
                    arrays[array] = _weight(rng, (4, 8, 2, 3, 2)[:rank], dtype)
                    weights.append((weight_name, array, consumer))
        model = build_model([Weight(w, arrays[a], c) for w, a, c in weights], target)
        coreml = coremltools.optimize.coreml
        config = coreml.OptimizationConfig(global_config=coreml.OpLinearQuantizerConfig(**options))
        quantized = coreml.linear_quantize_weights(model, config)
        cases.append(
            ProgramCase(
                name=name,
                weights=tuple(weights),
                target=target,
                options=options,
                description=tuple(describe(load_program(quantized))),
            )
        )
    return cases


_BLOCKS = {"weight_threshold": 0, "granularity": "per_block"}
_PROGRAMS: list[tuple[str, dict[str, Any]]] = [
    ("iOS15", {"weight_threshold": 0}),
    ("iOS16", {"weight_threshold": 0, "mode": "linear"}),
    ("iOS16", {"weight_threshold": 0, "granularity": "per_tensor", "dtype": "uint8"}),
    ("iOS17", {"weight_threshold": 60, "mode": "linear", "dtype": "uint8"}),
    ("iOS18", {"weight_threshold": 0}),
    ("iOS18", {"weight_threshold": 60, "dtype": "uint4", "mode": "linear"}),
    ("iOS18", {**_BLOCKS, "dtype": "int4", "block_size": 4}),
    ("iOS18", {**_BLOCKS, "mode": "linear", "block_size": 3}),
]


def _model_cases(coremltools: Any) -> list[ModelCase]:
    cases = []
    for shipped in SHIPPED:
        package = shipped.find()
        if package is None:
            raise GoldenError(f"{shipped.name} is not installed: {shipped.install_command}")
        for configuration in CONFIGURATIONS:
            model = prepare(open_package(package), configuration)
            quantized = quantize_with(coremltools, model, configuration)
            cases.append(
                ModelCase(
                    model=shipped.name,
                    configuration=configuration.name,
                    description=tuple(describe(load_program(quantized))),
                )
            )
    return cases


def _torch_cases(
    rng: np.random.Generator, coremltools: Any, arrays: dict[str, Array]
) -> list[TorchCase]:
    if Face.TORCH not in faces(coremltools):
        raise GoldenError("torch is not installed: pip install coreml-assay[torch]")
    cases: list[TorchCase] = []
    for kind, layer in LAYERS.items():
        for dtype in ("float32", "float16"):
            weights = _torch_weights(rng, kind, layer, dtype, arrays)
            for options in _torch_options():
                case = TorchCase(
                    name=f"t{len(cases):03}", layer=kind, weights=weights, options=options
                )
                cases.append(case)
                for parameter, found in _compress(coremltools, layer, case, arrays).items():
                    _store(f"{case.name}.{parameter}", found, arrays)
    return cases


def _torch_options() -> list[dict[str, Any]]:
    """Every granularity, scheme and code type."""
    granularities = [("per_tensor", {}), ("per_channel", {}), ("per_block", {"block_size": 2})]
    return [
        {"weight_dtype": codes, "granularity": name, "quantization_scheme": scheme, **sizes}
        for name, sizes in granularities
        for scheme in ("symmetric", "affine")
        for codes in ("int8", "uint8", "int4", "uint4")
    ]


def _torch_weights(
    rng: np.random.Generator, kind: str, layer: Layer, dtype: str, arrays: dict[str, Array]
) -> dict[str, str]:
    """Draw the weights of a layer, none of them zero; returns the names of their arrays."""
    names = {parameter: f"{kind}.{dtype}.{parameter}" for parameter in layer.weights}
    for parameter, shape in layer.weights.items():
        magnitudes = 10.0 ** rng.uniform(-1, 0.5, (*shape[:2], *[1] * (len(shape) - 2)))
        weight = rng.standard_normal(shape) * magnitudes + rng.choice([0.0, 0.5, -0.5])
        arrays[names[parameter]] = weight.astype(dtype)
    return names


def _compress(
    coremltools: Any, layer: Layer, case: TorchCase, arrays: dict[str, Array]
) -> dict[str, TorchWeight]:
    import torch

    model = eval(layer.source, {"torch": torch})
    for parameter, array in case.weights.items():
        model.get_parameter(parameter).data = torch.from_numpy(arrays[array].copy())
    quantization = coremltools.optimize.torch.quantization
    config = quantization.PostTrainingQuantizerConfig.from_dict({"global_config": case.options})
    found = torch_weights(quantization.PostTrainingQuantizer(model, config).compress())
    return {parameter: found[parameter] for parameter in layer.weights}


def _store(name: str, found: TorchWeight, arrays: dict[str, Array]) -> None:
    if found.scale is None:
        raise GoldenError(f"coremltools did not quantize {name}")
    arrays[f"{name}.codes"] = found.codes.astype(np.int16)
    arrays[f"{name}.scale"] = found.scale
    if found.zero_point is not None:
        arrays[f"{name}.zero_point"] = found.zero_point
