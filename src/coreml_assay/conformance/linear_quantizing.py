"""What checks of LinearQuantizer share: prepare a model, run it, look at its fake quantizers.

A model is given as Python text that makes it, or as one of implementations.trainable_models, so
that a failure shows exactly what was run.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from coreml_assay.conformance.subject import Subject, literal
from coreml_assay.conformance.torch_quantizing import TORCH, Config, build, python_of, torch
from coreml_assay.implementations import Unsupported
from coreml_assay.implementations.linear_quantizing import (
    Calibrated,
    Parameters,
    activation_parameters,
    calibrate,
    convert,
    evaluated,
    fake_quantizers,
    make_quantizer,
)
from coreml_assay.implementations.trainable_models import MODELS
from coreml_assay.mil.stored import stored_weights
from coreml_assay.mil.structure import constants, structure
from coreml_assay.numerics.blocks import Array

LINEAR = "model = torch.nn.Linear(3, 4)"
CONV_BN = "model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))"


def namespace(subject: Subject) -> Any:
    """The implementation's optimize.torch.quantization, if it has a LinearQuantizer at all."""
    quantization = subject.torch.quantization
    if not hasattr(quantization, "LinearQuantizer"):
        raise Unsupported(f"{subject.implementation.name} has no LinearQuantizer")
    return quantization


def with_options(**options: Any) -> Config:
    """A configuration with the same options for every layer."""
    return {"global_config": options}


@attrs.frozen(eq=False)
class Prepared:
    """A model that was prepared.

    Attributes:
        subject: the implementation.
        quantizer: its LinearQuantizer.
        given: the model handed over.
        model: what prepare returned.
    """

    subject: Subject
    quantizer: Any
    given: Any
    model: Any

    def run(self, values: Array) -> Any:
        """The model's output for a float32 array."""
        self.subject.extend_snippet(f"prepared(torch.from_numpy({literal(values)}))\n")
        with self.subject.recording():
            return self.model(torch.from_numpy(values))

    def step(self) -> None:
        """A step of the quantizer."""
        self.subject.extend_snippet("quantizer.step()\n")
        with self.subject.recording():
            self.quantizer.step()

    def finalize(self) -> Any:
        """The finalized model."""
        self.subject.extend_snippet("print(quantizer.finalize().state_dict())\n")
        with self.subject.recording():
            return self.quantizer.finalize()

    def activations(self) -> list[Parameters]:
        """The parameters of each activation's fake quantizer, in the order of the graph."""
        self.subject.extend_snippet("print(prepared.state_dict())\n")
        with self.subject.recording():
            return list(activation_parameters(self.model).values())

    def weight(self, layer: str) -> Parameters:
        """The parameters of a layer's weight."""
        self.subject.extend_snippet("print(prepared.state_dict())\n")
        with self.subject.recording():
            state = self.model.state_dict()
            scale, zero_point = (
                state[f"{layer}.weight_fake_quant.{field}"] for field in ("scale", "zero_point")
            )
            return Parameters(scale.numpy().copy(), zero_point.numpy().copy())

    def switches(self) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """Which states of observing there are among the fake quantizers, and of simulating."""
        modules = [module for _, module in fake_quantizers(self.model)]
        return (
            tuple(sorted({bool(module.observer_enabled) for module in modules})),
            tuple(sorted({bool(module.fake_quant_enabled) for module in modules})),
        )


def prepare(
    subject: Subject,
    source: str,
    config: Config,
    shape: tuple[int, ...],
    *,
    inplace: bool = False,
) -> Prepared:
    """Make a model and prepare it.

    Args:
        subject: the implementation.
        source: Python that makes a ``model``.
        config: as LinearQuantizerConfig.from_dict takes it.
        shape: of the example input, all zeros.
        inplace: as prepare takes it.
    """
    quantization = namespace(subject)
    subject.use_snippet(
        f"{TORCH}{source}\nquantization = cto.torch.quantization\n"
        f"config = quantization.LinearQuantizerConfig.from_dict({python_of(config)})\n"
        "quantizer = quantization.LinearQuantizer(model, config)\n"
        f"prepared = quantizer.prepare((torch.zeros({shape}),), inplace={inplace})\n"
    )
    given = build(source)
    with subject.recording():
        quantizer = make_quantizer(quantization, given, config)
        model = quantizer.prepare((torch.zeros(shape),), inplace=inplace)
    return Prepared(subject, quantizer, given, model)


def configure(subject: Subject, expression: str) -> Any:
    """The value of an expression over ``quantization`` and ``torch``; its errors pass through."""
    quantization = namespace(subject)
    subject.use_snippet(
        f"import torch\nquantization = cto.torch.quantization\nprint({expression})\n"
    )
    return eval(expression, {"torch": torch, "quantization": quantization})


@attrs.frozen(eq=False)
class Converted:
    """What checks look at of a converted program; the program itself would fill the memory.

    Attributes:
        structure: as `mil.structure.structure` gives it.
        scales: of its quantize operations, in order.
        weights: the values of its quantized weights.
        output: what it computes of the first batch.
    """

    structure: list[str]
    scales: Array
    weights: list[Array]
    output: Array


_calibrated: dict[tuple[int, str], tuple[Any, Calibrated]] = {}
_converted: dict[tuple[int, str], Converted] = {}


def calibrated(subject: Subject, name: str) -> Calibrated:
    """One of the trainable models calibrated and finalized, once for all checks.

    Must not be changed: other checks look at it.
    """
    quantization = namespace(subject)
    subject.use_snippet(
        "from coreml_assay.implementations.linear_quantizing import *\n"
        "from coreml_assay.implementations.trainable_models import MODELS\n"
        f"entry = MODELS[{name!r}]\n"
        "found = calibrate(cto.torch.quantization, entry)\n"
        "print(found.prepared)\n"
    )
    key = id(subject.implementation), name
    if key not in _calibrated:
        with subject.recording():
            found = calibrate(quantization, MODELS[name])
        _calibrated[key] = subject.implementation, found  # kept, so that its id stays its own
    return _calibrated[key][1]


def converted(subject: Subject, name: str) -> Converted:
    """What one of the trainable models is converted to, once for all checks."""
    found = calibrated(subject, name)
    subject.extend_snippet("print(convert(entry, found.finalized))\n")
    key = id(subject.implementation), name
    if key not in _converted:
        with subject.recording():
            program = convert(MODELS[name], found.finalized)
            stored = stored_weights(program).values()
            _converted[key] = Converted(
                structure(program),
                constants(program, "quantize", "scale"),
                [weight.values for weight in stored if weight.is_quantized],
                evaluated(program, MODELS[name]),
            )
    return _converted[key]


def row(*values: float) -> Array:
    """A batch of one row, float32."""
    return np.array([values], np.float32)
