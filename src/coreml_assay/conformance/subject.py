"""An implementation under test, with every call remembered so that a failure can be replayed."""

from __future__ import annotations

import base64
import textwrap
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import numpy as np

from coreml_assay.implementations import (
    CalibratedTensorFace,
    CalibratedWeightSpec,
    Implementation,
    Unsupported,
    WeightSpec,
)
from coreml_assay.numerics import BlockShape, Grid, QuantizedWeight
from coreml_assay.numerics.blocks import Array

_Result = TypeVar("_Result")
_SPELLED_OUT = 500  # longer arrays are packed in snippets
HEADER = """\
import zlib
from base64 import b64decode
import numpy as np
from numpy import array, float16, float32, inf, nan
"""


class Nonconformance(AssertionError):  # noqa: N818 - what was found, not an error of the suite
    """An implementation does not do what a clause says; the message says all there is to know."""


class NotMeasured(Exception):  # noqa: N818 - not an error: an answer
    """Raised by a check that lacks its input; the message says what would bring it."""


class Subject:
    """The implementation a check talks to.

    Args:
        implementation: under test.
        loaded_as: the name it was loaded by, for the snippet.
        clauses: those the running check names.
    """

    def __init__(
        self, implementation: Implementation, loaded_as: str, clauses: tuple[str, ...]
    ) -> None:
        self.implementation = implementation
        self.loaded_as = loaded_as
        self._clauses = clauses
        self._snippet = ""

    def quantize_weight(
        self, weight: Array, grid: Grid, block_shape: BlockShape
    ) -> QuantizedWeight:
        """Call the tensor face; an error is a nonconformance."""
        with self.recording():
            return QuantizedWeight(*self.call_tensor_face(weight, grid, block_shape))

    def call_tensor_face(self, weight: Array, grid: Grid, block_shape: BlockShape) -> Any:
        """Call the tensor face and let its errors through, for `expect_raises`."""
        self._snippet = _tensor_snippet(self.loaded_as, weight, grid, block_shape)
        face: Any = self.implementation
        # Warnings on odd input are the implementation's own business.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return face.quantize_weight(weight, WeightSpec(grid, block_shape))

    def gptq(
        self,
        weight: Array,
        inputs: Sequence[Array],
        spec: CalibratedWeightSpec,
        *,
        source: str | None = None,
    ) -> QuantizedWeight:
        """Call the tensor face's GPTQ; an error is a nonconformance.

        Args:
            weight: as `CalibratedTensorFace.gptq` takes it.
            inputs: the same.
            spec: the same.
            source: Python that makes them, for the snippet, where they are too long for it.
        """
        face = self.implementation
        if not isinstance(face, CalibratedTensorFace):
            raise Unsupported(f"{face.name} has no gptq(weight, inputs, spec)")
        self._snippet = _gptq_snippet(
            self.loaded_as, source or _gptq_arguments(weight, inputs, spec)
        )
        with self.recording(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return QuantizedWeight(*face.gptq(weight, inputs, spec))

    @property
    def coreml(self) -> Any:
        """The Core ML face: a namespace like coremltools.optimize.coreml."""
        face: Any = self.implementation
        return face.optimize.coreml

    @property
    def torch(self) -> Any:
        """The torch face: a namespace like coremltools.optimize.torch."""
        face: Any = self.implementation
        return face.optimize.torch

    def use_snippet(self, source: str) -> None:
        """Remember how to replay what the check does next.

        Args:
            source: Python in which ``cto`` is the implementation's namespace.
        """
        self._snippet = (
            f"{HEADER}from coreml_assay.implementations import load_implementation\n"
            f"cto = load_implementation({self.loaded_as!r}).optimize\n{source}"
        )

    def extend_snippet(self, source: str) -> None:
        """Remember what the check does after what the snippet says so far."""
        self._snippet += source

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A block of calls to the implementation; what they raise is a nonconformance."""
        try:
            yield
        except (Unsupported, Nonconformance):
            raise
        except Exception as error:
            self.fail(
                "the call fails",
                expected="a result",
                found=f"{type(error).__name__}: {_first_line(error)}",
                cause=error,
            )

    def expect(self, holds: bool, statement: str, expected: object, found: object) -> None:
        """Fail with the statement unless it holds."""
        if not holds:
            self.fail(statement, expected, found)

    def expect_equal(self, found: object, expected: object, what: str) -> None:
        """Fail unless two values are the same: arrays in dtype, shape and bits."""
        if isinstance(expected, np.ndarray):
            same = (
                isinstance(found, np.ndarray)
                and found.dtype == expected.dtype
                and found.shape == expected.shape
                and found.tobytes() == expected.tobytes()
            )
        else:
            same = bool(found == expected)
        self.expect(same, f"{what} differs", expected, found)

    def expect_raises(
        self,
        errors: type[Exception] | tuple[type[Exception], ...],
        action: Callable[[], _Result],
        saying: str = "",
    ) -> None:
        """Fail unless the action raises one of the errors, with these words in its message."""
        accepted = errors if isinstance(errors, tuple) else (errors,)
        names = " or ".join(error.__name__ for error in accepted)
        try:
            result = action()
        except accepted as error:
            self.expect(
                saying in str(error),
                "the error does not say what is wrong",
                expected=f"a message with {saying!r}",
                found=_first_line(error),
            )
            return
        except Unsupported:
            raise
        except Exception as error:
            self.fail(
                "the wrong kind of error is raised",
                expected=names,
                found=f"{type(error).__name__}: {_first_line(error)}",
                cause=error,
            )
        self.fail("no error is raised", expected=names, found=result)

    def fail(
        self, statement: str, expected: object, found: object, cause: Exception | None = None
    ) -> NoReturn:
        """Raise a nonconformance."""
        who = f"{self.implementation.name} {self.implementation.version}"
        lines = [
            f"{who} violates {', '.join(self._clauses)}: {statement}",
            f"expected: {_show(expected)}",
            f"found:    {_show(found)}",
        ]
        if self._snippet:
            lines += ["to reproduce:", textwrap.indent(self._snippet.rstrip(), "    ")]
        raise Nonconformance("\n".join(lines)) from cause


def _tensor_snippet(loaded_as: str, weight: Array, grid: Grid, block_shape: BlockShape) -> str:
    """Python that quantizes one array and prints the result."""
    return (
        f"{HEADER}from coreml_assay.implementations import WeightSpec, load_implementation\n"
        "from coreml_assay.numerics import Grid\n"
        f"weight = {literal(weight)}\n"
        f"spec = WeightSpec({grid!r}, {block_shape})\n"
        f"print(load_implementation({loaded_as!r}).quantize_weight(weight, spec))\n"
    )


def _gptq_arguments(weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec) -> str:
    """Python that makes the arguments of GPTQ."""
    batches = "".join(f"    {literal(batch)},\n" for batch in inputs)
    return (
        "from coreml_assay.implementations import CalibratedWeightSpec\n"
        "from coreml_assay.numerics import Grid\n"
        f"weight = {literal(weight)}\n"
        f"inputs = [\n{batches}]\n"
        f"spec = {spec!r}\n"
    )


def _gptq_snippet(loaded_as: str, arguments: str) -> str:
    """Python that quantizes one array under calibration inputs and prints the result."""
    return (
        f"{HEADER}from coreml_assay.implementations import load_implementation\n"
        f"{arguments}"
        f"print(load_implementation({loaded_as!r}).gptq(weight, inputs, spec))\n"
    )


def literal(array: Array) -> str:
    """A Python expression with exactly this array as its value."""
    if array.size > _SPELLED_OUT:
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()
        values = f"np.frombuffer(zlib.decompress(b64decode({packed!r})), {array.dtype.name!r})"
    else:
        values = f"array({array.ravel().tolist()!r}, {array.dtype.name!r})"
    return values if array.ndim == 1 else f"{values}.reshape({array.shape})"


def _show(value: object) -> str:
    if isinstance(value, np.ndarray):
        shown = np.array2string(value, threshold=20, max_line_width=68, precision=9)
        return f"{value.dtype}{list(value.shape)} {shown}"
    text = str(value)
    return text if len(text) <= 400 else f"{text[:400]} ..."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]
