"""Lets coremltools' own ``MLModel.predict`` run anywhere, through the evaluator.

Meant for comparisons with what coremltools computes by prediction; whoever only wants to run a
program uses the evaluator itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.models import model as model_module

from coreml_assay.mil.evaluator import Evaluator, State
from coreml_assay.mil.images import image_inputs, is_image
from coreml_assay.mil.precision import Precision
from coreml_assay.mil.program import load_program

_NEWEST_SPECIFICATION = 9


@contextmanager
def evaluated_predictions(precision: Precision = Precision.FLOAT32) -> Iterator[None]:
    """A block in which every ``MLModel`` that is loaded can predict.

    Models loaded before, or with ``skip_model_load=True``, cannot; those loaded within keep the
    ability. The change is to coremltools itself and so holds for all threads. Inputs are arrays,
    or Pillow images where the model takes images.

    Args:
        precision: of all floating-point arithmetic.
    """

    class Proxy(_Proxy):
        _precision = precision

    original = model_module._MLModelProxy
    model_module._MLModelProxy = Proxy
    try:
        yield
    finally:
        model_module._MLModelProxy = original


class _Proxy:
    """What coremltools asks for predictions, in the place of its binding to Core ML."""

    _precision: Precision

    def __init__(self, path: str, _units: str, function: str, _hints: Any, _asset: Any) -> None:
        model = ct.models.MLModel(path, skip_model_load=True)
        self._images = image_inputs(model)
        program = load_program(model)
        name = function or next(iter(program.functions))
        self._evaluator = Evaluator(program, self._precision, name)
        self._dtypes = {
            var.name: types.nptype_from_builtin(var.dtype)
            for var in program.functions[name].outputs
            if types.is_tensor(var.sym_type) or types.is_scalar(var.sym_type)
        }

    @staticmethod
    def maximum_supported_specification_version() -> int:
        """The newest specification version that can be predicted with."""
        return _NEWEST_SPECIFICATION

    def predict(self, inputs: dict[str, Any], state: State | None) -> dict[str, Any]:
        """Output name to array, in the dtype that the program gives it."""
        arrays = {
            name: self._images[name].array(value)
            if name in self._images and is_image(value)
            else value
            for name, value in inputs.items()
        }
        return {
            name: self._in_own_dtype(name, value)
            for name, value in self._evaluator.predict(arrays, state).items()
        }

    def batchPredict(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802
        """As `predict`, for each sample."""
        return [self.predict(inputs, None) for inputs in batch]

    def _in_own_dtype(self, name: str, value: Any) -> Any:
        if name not in self._dtypes or not isinstance(value, np.ndarray):
            return value
        with np.errstate(over="ignore"):
            return value.astype(self._dtypes[name])
