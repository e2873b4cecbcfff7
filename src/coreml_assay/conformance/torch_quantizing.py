"""What checks of the torch face share: compress a model, look at its weights.

A model is given as Python text that makes it, so that a failure shows exactly what was run.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from coreml_assay.conformance.subject import HEADER, Subject, literal
from coreml_assay.implementations.torch_models import TorchWeight, torch_weights
from coreml_assay.numerics import Grid
from coreml_assay.numerics.blocks import Array

Config = Mapping[str, Any]  # as PostTrainingQuantizerConfig.from_dict takes it


def _torch() -> Any:
    """PyTorch; where it is not installed, no implementation has a face that would need it."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        return None


torch = _torch()

TORCH = "import torch\ntorch.manual_seed(0)\n"


@attrs.frozen(eq=False)
class Compressed:
    """What came of compressing a model.

    Attributes:
        given: the model that was handed over.
        before: its parameters at that time.
        model: what was returned.
        weights: the parameters of that.
        report: the quantizer's.
        messages: the warnings, given or logged.
    """

    given: Any
    before: dict[str, TorchWeight]
    model: Any
    weights: dict[str, TorchWeight]
    report: dict[str, dict[str, Any]]
    messages: str


def everywhere(**options: Any) -> Config:
    """A configuration with the same options for every layer."""
    return {"global_config": options}


def codes_of(grid: Grid) -> dict[str, str]:
    """The options that ask for a grid."""
    scheme = "symmetric" if grid.symmetric else "affine"
    return {"weight_dtype": grid.name, "quantization_scheme": scheme}


def with_weights(layer: str, weights: Mapping[str, Array]) -> str:
    """The source of a model: a layer, its parameters replaced."""
    lines = [f"model = {layer}"]
    lines += [
        f"model.get_parameter({name!r}).data = torch.from_numpy({literal(value)})"
        for name, value in weights.items()
    ]
    return "\n".join(lines)


def build(source: str) -> Any:
    """The ``model`` that the source makes; random weights are the same each time."""
    scope: dict[str, Any] = {}
    exec(f"{HEADER}{TORCH}{source}", scope)
    return scope["model"]


def compress(
    subject: Subject, source: str, config: Config | None = None, *, inplace: bool = False
) -> Compressed:
    """Run the implementation's PostTrainingQuantizer.

    Args:
        subject: the implementation.
        source: Python that makes a ``model``.
        config: None leaves the argument out.
        inplace: as compress takes it.
    """
    subject.use_snippet(compress_source(source, config, inplace=inplace))
    return _run(subject, build(source), config, inplace=inplace)


def compress_twice(subject: Subject, source: str, second: Config) -> tuple[Compressed, Compressed]:
    """Compress a model with the defaults, and what comes of it with another configuration."""
    again = compress_source("", second).removeprefix(TORCH)
    subject.use_snippet(compress_source(source) + again)
    once = _run(subject, build(source), None)
    return once, _run(subject, once.model, second)


def _run(
    subject: Subject, given: Any, config: Config | None, *, inplace: bool = False
) -> Compressed:
    before = torch_weights(given)
    with subject.recording(), listening() as messages:
        quantization = subject.torch.quantization
        settings = (
            [] if config is None else [quantization.PostTrainingQuantizerConfig.from_dict(config)]
        )
        quantizer = quantization.PostTrainingQuantizer(given, *settings)
        model = quantizer.compress(inplace=inplace)
        weights = torch_weights(model)
        report = dict(quantizer.report())
    return Compressed(given, before, model, weights, report, "\n".join(messages))


def compress_source(source: str, config: Config | None = None, *, inplace: bool = False) -> str:
    """Python that does what `compress` does."""
    made = (
        ""
        if config is None
        else f"config = quantization.PostTrainingQuantizerConfig.from_dict({python_of(config)})\n"
    )
    return (
        f"{TORCH}{source}\n"
        f"quantization = cto.torch.quantization\n{made}"
        f"quantizer = quantization.PostTrainingQuantizer(model{', config' if made else ''})\n"
        f"model = quantizer.compress({'inplace=True' if inplace else ''})\n"
        "print(model.state_dict(), quantizer.report())\n"
    )


def evaluate(subject: Subject, expression: str) -> Any:
    """The value of an expression over ``quantization`` and ``torch``; its errors pass through."""
    subject.use_snippet(
        f"import torch\nquantization = cto.torch.quantization\nprint({expression})\n"
    )
    return eval(expression, {"torch": torch, "quantization": subject.torch.quantization})


def expect_quantized(subject: Subject, weights: Mapping[str, TorchWeight], *names: str) -> None:
    """Fail unless exactly the named parameters are quantized."""
    found = sorted(name for name, weight in weights.items() if weight.is_quantized)
    subject.expect_equal(found, sorted(names), "the list of quantized parameters")


def expect_left(subject: Subject, compressed: Compressed, name: str) -> None:
    """Fail unless a parameter has no buffers and its bits are as before."""
    found = compressed.weights[name]
    subject.expect_equal(found.is_quantized, False, f"whether {name} is quantized")
    subject.expect_equal(found.values, compressed.before[name].values, f"{name}, to be left as is,")


def python_of(value: Any) -> str:
    """Python that makes a configuration: dictionaries, classes of torch.nn, plain values."""
    if isinstance(value, Mapping):
        entries = ", ".join(f"{python_of(k)}: {python_of(v)}" for k, v in value.items())
        return f"{{{entries}}}"
    return f"torch.nn.{value.__name__}" if isinstance(value, type) else repr(value)


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """Collect warnings: given by warnings.warn, or logged by any logger, propagating or not."""
    messages: list[str] = []
    make_record = logging.getLogRecordFactory()

    def listen(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return record

    logging.setLogRecordFactory(listen)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", ResourceWarning)  # when these come is chance
            yield messages
    finally:
        logging.setLogRecordFactory(make_record)
        messages += [str(warning.message) for warning in caught]
