"""What checks of linear_quantize_activations share: quantize a sample program, look at its pairs.

A model and its samples are given as Python text, so that a failure shows exactly what was run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import attrs
import numpy as np

from coreml_assay.conformance.quantizing import Configuration
from coreml_assay.conformance.subject import NotMeasured, Subject
from coreml_assay.implementations import Unsupported, load_implementation, predicting
from coreml_assay.mil.pairs import Pair, described, op_types, pairs
from coreml_assay.mil.program import Model, Program, load_program
from coreml_assay.numerics.blocks import Array

IMPORTS = """\
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coreml_assay.mil.activation_programs import *
from coreml_assay.mil.activation_samples import *
"""
CONV = "program(one_conv)"
EVERYWHERE = Configuration({})


def with_options(**options: Any) -> Configuration:
    """The same options for every op."""
    return Configuration(options)


@attrs.frozen(eq=False)
class Quantized:
    """A model whose activations were quantized.

    Attributes:
        subject: the implementation.
        given: the model handed over.
        samples: those handed over, as they are afterwards.
        model: what came back.
        program: of what came back.
    """

    subject: Subject
    given: Model
    samples: Any
    model: Model
    program: Program

    def pairs(self) -> list[Pair]:
        """Its quantize ops, in order."""
        with self.subject.recording():
            return pairs(self.program)

    def pair_of(self, tensor: str) -> Pair:
        """The one quantize op of a tensor."""
        found = [pair for pair in self.pairs() if pair.tensor == tensor]
        self.subject.expect(
            len(found) == 1,
            f"{tensor} is not quantized once",
            expected="one quantize op",
            found=f"{len(found)} of {tensor}; of all tensors {[p.tensor for p in self.pairs()]}",
        )
        return found[0]

    def quantized(self) -> list[str]:
        """The names of the tensors that are quantized, in order."""
        return [pair.tensor for pair in self.pairs()]

    def op_types(self) -> list[str]:
        """The types of its ops, constants left out, in order."""
        return op_types(self.program)

    def described(self) -> list[str]:
        """One line for each op, with every scale and zero point."""
        return described(self.program)

    def evaluate(self, sample: dict[str, Array]) -> list[Array]:
        """Its outputs for a sample."""
        from coreml_assay.mil.evaluator import Evaluator  # needs torch

        with self.subject.recording():
            return list(Evaluator(self.program).predict(sample).values())


def quantize(
    subject: Subject,
    model: str = CONV,
    samples: str = "samples(model)",
    configuration: Configuration = EVERYWHERE,
    arguments: str = "",
) -> Quantized:
    """Run the implementation's linear_quantize_activations.

    Args:
        subject: the implementation.
        model: Python that makes the model, over the names that `IMPORTS` brings.
        samples: Python that makes the samples, over the same names and ``model``.
        configuration: which ops, and how.
        arguments: further ones, as Python.
    """
    given, data, action = _prepare(subject, model, samples, configuration, arguments)
    with subject.recording():
        found = action()
        return Quantized(subject, given, data, found, load_program(found))


def quantizing(
    subject: Subject,
    model: str = CONV,
    samples: str = "samples(model)",
    configuration: Configuration = EVERYWHERE,
    arguments: str = "",
) -> Callable[[], Model]:
    """The same as an action, for `Subject.expect_raises`."""
    return _prepare(subject, model, samples, configuration, arguments)[2]


def namespace(subject: Subject) -> Any:
    """The implementation's optimize.coreml, if it quantizes activations and they can be."""
    if not hasattr(subject.coreml, "linear_quantize_activations"):
        raise Unsupported(f"{subject.implementation.name} has no linear_quantize_activations")
    if find_spec("torch") is None:
        raise NotMeasured("models are run with PyTorch: pip install 'coreml-assay[torch]'")
    return subject.coreml


def evaluate(model: str, expression: str) -> Any:
    """The value of Python over the names that `IMPORTS` brings, and a model."""
    return eval(expression, {**_scope(), "model": build(model)})


def build(model: str) -> Model:
    """The model that Python text makes."""
    return eval(model, dict(_scope()))


def _prepare(
    subject: Subject, model: str, samples: str, configuration: Configuration, arguments: str
) -> tuple[Model, Any, Callable[[], Model]]:
    coreml = namespace(subject)
    call = f"cto.coreml.linear_quantize_activations(model, config, samples{arguments})"
    subject.use_snippet(
        "from coreml_assay.conformance.quantizing import Configuration\n"
        "from coreml_assay.implementations import predicting\n"
        "from coreml_assay.mil.pairs import described\n"
        "from coreml_assay.mil.program import load_program\n"
        f"{IMPORTS}model = {model}\nsamples = {samples}\n"
        f"config = {configuration!r}.build(cto.coreml)\n"
        f"with predicting(load_implementation({subject.loaded_as!r})):\n"
        f"    quantized = {call}\n"
        "print(*described(load_program(quantized)), sep='\\n')\n"
    )
    given = build(model)
    scope = {**_scope(), "model": given}
    scope["samples"] = eval(samples, scope)

    def action() -> Model:
        here = {**scope, "cto": _Namespace(coreml), "config": configuration.build(coreml)}
        # Warnings on odd input are the implementation's own business.
        with predicting(subject.implementation), np.errstate(all="ignore"):
            return eval(call, here)

    return given, scope["samples"], action


@attrs.frozen
class _Namespace:
    """What snippets call ``cto``."""

    coreml: Any


@cache
def _scope() -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(IMPORTS, scope)
    return scope


def by_coremltools(model: Model, samples: Any, **options: Any) -> list[Pair]:
    """The pairs that the installed coremltools makes, for the reproductions of deviations.

    Args:
        model: of any kind.
        samples: as linear_quantize_activations takes them.
        options: of its OpLinearQuantizerConfig.
    """
    coremltools = load_implementation("coremltools")
    coreml = coremltools.optimize.coreml  # type: ignore[attr-defined]
    config = with_options(**options).build(coreml)
    with predicting(coremltools), np.errstate(all="ignore"):
        quantized = coreml.linear_quantize_activations(model, config, samples)
    return pairs(load_program(quantized))
