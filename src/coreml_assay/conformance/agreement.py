"""Random programs through two implementations, compared op for op and bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from coreml_assay.conformance.quantizing import Configuration
from coreml_assay.conformance.registry import load_deviations
from coreml_assay.implementations import Implementation
from coreml_assay.mil.describe import describe
from coreml_assay.mil.program import load_program
from coreml_assay.mil.samples import CHANNELS, Weight, build_model
from coreml_assay.mil.stored import stored_weights
from coreml_assay.numerics import BlockShape, Grid, parameter_shape
from coreml_assay.numerics.affine import block_range, out_of_precision
from coreml_assay.numerics.blocks import Array
from coreml_assay.records import Agreement

WEIGHTS_PER_PROGRAM = 25
_SHOWN_DIFFERENCES = 5
_EXTREME_SHARE = 0.02  # weights whose magnitude float16 arithmetic may not take


@attrs.frozen(eq=False)
class RandomWeight:
    """A weight and the options it is quantized with."""

    weight: Weight
    options: dict[str, Any]

    @property
    def grid(self) -> Grid:
        """The grid that the options name."""
        symmetric = self.options["mode"] == "linear_symmetric"
        return Grid.named(self.options["dtype"], symmetric=symmetric)


def compare(
    implementation: Implementation,
    against: Implementation,
    cases: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Agreement:
    """Quantize seeded random weights with both and compare the programs.

    Weights of rank 2 to 5, float16 and float32, for every kind of consumer; every mode, dtype,
    granularity and deployment target. A weight for which ``against`` has a registered deviation
    (arithmetic too narrow for its magnitude) is counted under that deviation where it differs.

    Args:
        implementation: with a Core ML face.
        against: with a Core ML face.
        cases: how many weights, at least.
        seed: of the random generator.
        progress: called with the number of weights done.

    Returns:
        The counts, and a sentence for each of the first unexplained differences.
    """
    rng = np.random.default_rng(seed)
    done = equal = 0
    deviating: dict[str, int] = {}
    differences: list[str] = []
    while done < cases:
        target, weights = random_program(rng)
        expected, found = (
            _quantized_lines(each, target, weights) for each in (against, implementation)
        )
        for case in weights:
            name = case.weight.name
            if expected[name] == found[name]:
                equal += 1
            elif deviation := _explanation(case, against):
                deviating[deviation] = deviating.get(deviation, 0) + 1
            else:
                differences.append(_sentence(case, target, expected[name], found[name]))
        if expected[""] != found[""]:
            differences.append(f"a program for {target}: the rest of it differs")
        done += len(weights)
        progress(done)
    shown = differences[:_SHOWN_DIFFERENCES]
    if len(differences) > len(shown):
        shown.append(f"and {len(differences) - len(shown)} more")
    return Agreement(
        implementation=implementation.name,
        version=implementation.version,
        against=against.name,
        against_version=against.version,
        seed=seed,
        cases=done,
        equal=equal,
        deviating=deviating,
        differences=tuple(shown),
    )


def random_program(rng: np.random.Generator) -> tuple[str, list[RandomWeight]]:
    """A deployment target, and weights with options that it allows."""
    target = str(rng.choice(["iOS16", "iOS17", "iOS18", "iOS18"]))
    return target, [_random_weight(rng, f"w{i:02}", target) for i in range(WEIGHTS_PER_PROGRAM)]


def _random_weight(rng: np.random.Generator, name: str, target: str) -> RandomWeight:
    consumer = str(rng.choice(list(CHANNELS)))
    rank = int(rng.choice([rank for rank in CHANNELS[consumer][0] if rank >= 2]))
    shape = tuple(int(n) for n in rng.choice([2, 3, 4, 6, 8, 12], rank))
    dtype = rng.choice(["float16", "float32"])
    exponent = rng.uniform(-2, 1)
    if dtype == "float16" and rng.random() < _EXTREME_SHARE:
        exponent = rng.choice([-6.5, 3.9])
    value = rng.standard_normal(shape) * 10.0**exponent
    value += rng.choice([0.0, 0.0, 2.0, -2.0]) * 10.0**exponent
    if rng.random() < 0.1:
        value[0] = 0
    newest = target == "iOS18"
    options: dict[str, Any] = {
        "weight_threshold": int(rng.choice([0, 0, 0, 50])),
        "mode": str(rng.choice(["linear", "linear_symmetric"])),
        "dtype": str(rng.choice(["int8", "uint8", "int4", "uint4"][: 4 if newest else 2])),
        "granularity": str(
            rng.choice(["per_tensor", "per_channel", "per_block"][: 3 if newest else 2])
        ),
    }
    if options["granularity"] == "per_block":
        sizes = [int(n) for n in rng.choice([0, 1, 2, 3, 4], rank)]
        options["block_size"] = sizes if rng.random() < 0.5 else sizes[0]
    return RandomWeight(Weight(name, value.astype(dtype), consumer), options)


def _quantized_lines(
    implementation: Any, target: str, weights: list[RandomWeight]
) -> dict[str, list[str]]:
    """The description of the quantized program, by weight; what belongs to none under ''."""
    model = build_model([case.weight for case in weights], target)
    configuration = Configuration(op_names={case.weight.name: case.options for case in weights})
    coreml = implementation.optimize.coreml
    quantized = coreml.linear_quantize_weights(model, configuration.build(coreml))
    lines: dict[str, list[str]] = {"": [], **{case.weight.name: [] for case in weights}}
    for line in describe(load_program(quantized)):
        operation = line.split("(", 1)[0].rsplit(" ", 1)[-1]
        lines.get(operation.split("_", 1)[0], lines[""]).append(line)
    return lines


def _explanation(case: RandomWeight, against: Implementation) -> str | None:
    """The registered deviation by which this weight may differ, if there is one."""
    kind = f"narrow-{case.weight.value.dtype}-arithmetic"
    listed = any(
        deviation.id == kind and deviation.applies_to(against.name, against.version)
        for deviation in load_deviations()
    )
    return kind if listed and _needs_wider_arithmetic(case) else None


def _needs_wider_arithmetic(case: RandomWeight) -> bool:
    """Whether any block has a scale or zero point that the weight's dtype cannot compute."""
    quantized = stored_weights(load_program(_quantized_alone(case)))[case.weight.name]
    if quantized.scale is None:
        return False
    block_shape = _block_shape(case.weight.value, quantized.scale.shape)
    A, B = block_range(case.weight.value, case.grid, block_shape)
    return bool(out_of_precision(A, B, case.grid).any())


def _quantized_alone(case: RandomWeight) -> Any:
    from coreml_assay.optimize import coreml

    model = build_model([case.weight])
    config = Configuration(case.options).build(coreml)
    return coreml.linear_quantize_weights(model, config)


def _block_shape(weight: Array, parameters: tuple[int, ...]) -> BlockShape:
    block_shape = tuple(n // count for n, count in zip(weight.shape, parameters, strict=True))
    assert parameter_shape(weight.shape, block_shape) == parameters
    return block_shape


def _sentence(case: RandomWeight, target: str, expected: list[str], found: list[str]) -> str:
    weight = case.weight
    return (
        f"{weight.value.dtype}{list(weight.value.shape)} weight of {weight.consumer} for {target} "
        f"with {case.options}: expected {expected}, found {found}"
    )
