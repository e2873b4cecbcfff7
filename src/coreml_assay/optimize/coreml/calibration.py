"""Calibration: the range that each tensor of a program takes over samples of its inputs.

Samples are evaluated one after another and forgotten; what is kept is one range for each tensor.
Minimum and maximum do not depend on the order of the samples.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from coremltools.converters.mil.mil import types
from rich.console import Console
from rich.progress import track

from coreml_assay.mil.images import ImageInput, is_image
from coreml_assay.mil.program import Operation, Program, all_operations

if TYPE_CHECKING:
    import torch

    from coreml_assay.mil.evaluator import Evaluator

logger = logging.getLogger(__name__)

_LOG_EVERY = 100  # samples


@attrs.frozen
class TensorRange:
    """The lowest and the highest value that a tensor took; NaN if it ever held NaN."""

    low: float
    high: float

    @property
    def is_finite(self) -> bool:
        """Whether both ends are numbers, so that a scale exists."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def union(self, other: TensorRange) -> TensorRange:
        """The smallest range that holds both, NaN if either is."""
        return TensorRange(
            float(np.minimum(self.low, other.low)), float(np.maximum(self.high, other.high))
        )


def calibrate(
    program: Program,
    samples: Iterable[Any],
    tensors: Collection[str],
    images: Mapping[str, ImageInput] | None = None,
) -> dict[str, TensorRange]:
    """Evaluate a program on samples and watch the ranges of its tensors, in one pass.

    The arithmetic is float32, whatever the program's own precision: a range shows what the model
    means to compute, not where fp16 overflows.

    Args:
        program: with a single function.
        samples: at least one; see `linear_quantize_activations`.
        tensors: names of the floating-point tensors to watch.
        images: the inputs that take images, by name; None for no inputs.

    Returns:
        Name to range over all samples, of the tensors that were computed at least once; those of
        a concat and everything concatenated with it have one range in common.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError: the samples cannot be iterated over, or one is neither a dictionary nor an
            array.
        ValueError: there are no samples, or one does not fit the program's inputs; the message
            says which.
        EvaluationError: the program cannot be run on a sample.
        UnsupportedOperation: the program cannot be evaluated.
    """
    evaluator = _evaluator(program)
    ranges: dict[str, TensorRange] = {}

    def watch(name: str, tensor: torch.Tensor) -> None:
        if tensor.numel():
            low, high = tensor.aminmax()
            seen = TensorRange(float(low), float(high))
            ranges[name] = ranges[name].union(seen) if name in ranges else seen

    groups = _concatenated(program)
    known = {*evaluator.inputs, *evaluator.values}
    watched = known.intersection(set(tensors).union(*groups))
    count = 0
    for sample in _shown(_iterate(samples)):
        try:
            evaluator.run(_inputs(sample, evaluator, images or {}), tap=watch, taps=watched)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"sample {count}: {error}") from error
        count += 1
        if count % _LOG_EVERY == 0:
            logger.info("calibrated on %d samples", count)
    if not count:
        raise ValueError("sample_data is empty: calibration needs at least one sample")
    logger.info("calibrated on %d samples; %d tensors", count, len(ranges))
    return _share_ranges(ranges, groups)


def _evaluator(program: Program) -> Evaluator:
    try:
        from coreml_assay.mil.evaluator import Evaluator
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            "calibration evaluates the model with PyTorch, which is not installed: "
            "pip install 'coreml-assay[torch]'"
        ) from error
    (function,) = program.functions
    return Evaluator(program, function=function)


def _iterate(samples: Any) -> Iterable[Any]:
    if isinstance(samples, Mapping | str) or not isinstance(samples, Iterable):
        raise TypeError(
            "sample_data must be a list, or another iterable, of dictionaries of input name to "
            f"array; got {type(samples).__name__}"
        )
    return samples


def _shown(samples: Iterable[Any]) -> Iterable[Any]:
    """The samples, their number shown on standard error while it is a terminal.

    What silences coremltools' own progress bars, the variable TQDM_DISABLE, silences this one.
    """
    console = Console(stderr=True)
    if not console.is_terminal or os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        return samples
    return track(samples, "calibrating", console=console, transient=True)


def _inputs(sample: Any, evaluator: Evaluator, images: Mapping[str, ImageInput]) -> dict[str, Any]:
    """The sample with all names filled in, images as arrays, free of NaN and infinities."""
    if hasattr(sample, "__array__") or is_image(sample):
        sample = {None: sample}
    if not isinstance(sample, Mapping):
        raise TypeError(
            f"expected a dictionary of input name to array, or an array, "
            f"got {type(sample).__name__}"
        )
    named = dict(sample)
    if None in named:
        if len(named) > 1 or len(evaluator.inputs) > 1:
            raise ValueError(
                "When the model has multiple inputs, please provide the name for each data in "
                f"`sample_data`; the inputs are {', '.join(map(repr, evaluator.inputs))}"
            )
        named = dict.fromkeys(evaluator.inputs, named[None])
    for name, value in named.items():
        if name in images and is_image(value):
            named[name] = images[name].array(value)
        _check_finite(name, named[name])
    return named


def _check_finite(name: str, value: Any) -> None:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        held = array.astype(np.float32, copy=False)
    if not np.isfinite(held).all():
        kind = "NaN" if np.isnan(held).any() else "infinity, or values beyond float32,"
        raise ValueError(f"input {name!r} holds {kind} where a range needs finite numbers")


def _concatenated(program: Program) -> list[set[str]]:
    """Names of the floating-point tensors that are concatenated with each other, results included.

    Groups that have a tensor in common are one group, however long the chain.
    """
    groups: list[set[str]] = []
    for function in program.functions.values():
        for operation in all_operations(function):
            if operation.op_type == "concat" and types.is_float(operation.outputs[0].dtype):
                merged = _tensors_of_concat(operation)
                apart = [group for group in groups if group.isdisjoint(merged)]
                merged.update(*(group for group in groups if not group.isdisjoint(merged)))
                groups = [*apart, merged]
    return groups


def _tensors_of_concat(operation: Operation) -> set[str]:
    return {var.name for var in (*operation.values, *operation.outputs)}


def _share_ranges(
    ranges: dict[str, TensorRange], groups: Iterable[set[str]]
) -> dict[str, TensorRange]:
    """Give all tensors of a group the union of their ranges."""
    shared = dict(ranges)
    for group in groups:
        members = [name for name in ranges if name in group]
        if members:
            common = ranges[members[0]]
            for name in members[1:]:
                common = common.union(ranges[name])
            shared.update(dict.fromkeys(members, common))
    return shared
