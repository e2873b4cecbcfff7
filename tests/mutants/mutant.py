"""The reference with one fault put in, for the length of a call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

from coreml_assay import optimize
from coreml_assay.implementations import CalibratedWeightSpec, WeightSpec
from coreml_assay.implementations.reference import Reference
from coreml_assay.numerics import QuantizedWeight
from coreml_assay.numerics.blocks import Array
from coreml_assay.numerics.native import VARIABLE
from coreml_assay.optimize import coreml
from coreml_assay.optimize.torch import layerwise_compression

_NAMES = layerwise_compression.__all__


class Mutant:
    """Base of all mutants: says which names of the reference are replaced, and by what.

    Attributes:
        violates: the clause that the fault breaks.
        faults: dotted name of a function of the reference to what takes its place.
        throughout: whether the fault is at work for a whole run of the suite, because what the
            reference returns has to go on being wrong; else only for calls of the reference.
    """

    version = "0"
    violates: ClassVar[str]
    faults: ClassVar[dict[str, Callable[..., Any]]]
    throughout: ClassVar[bool] = False

    def __init__(self) -> None:
        self.name = type(self).__name__
        self.optimize = optimize if self.throughout else _Optimize(self)

    def quantize_weight(self, weight: Array, spec: WeightSpec) -> QuantizedWeight:
        with self.at_work():
            return Reference().quantize_weight(weight, spec)

    def gptq(
        self, weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec
    ) -> QuantizedWeight:
        with self.at_work():
            return Reference().gptq(weight, inputs, spec)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with ExitStack() as stack:
            # Compiled kernels compute what the replaced functions would: those have to do it.
            stack.enter_context(patch.dict(os.environ, {VARIABLE: "0"}))
            for name, fault in self.faults.items():
                # A plain function, which in the place of a method gets its object.
                function = fault.__func__ if isinstance(fault, staticmethod) else fault
                stack.enter_context(patch(f"coreml_assay.{name}", function))
            yield


class _Optimize:
    def __init__(self, mutant: Mutant) -> None:
        self.coreml = _CoreML(mutant)
        self.torch = _Torch(mutant)


class _Torch:
    """optimize.torch; what its layer-wise compressor does is done with the fault at work."""

    def __init__(self, mutant: Mutant) -> None:
        class Compressor(layerwise_compression.LayerwiseCompressor):
            def compress(self, *args: Any, **kwargs: Any) -> Any:
                with mutant.at_work():
                    return super().compress(*args, **kwargs)

        names = {name: getattr(layerwise_compression, name) for name in _NAMES}
        self.layerwise_compression = SimpleNamespace(**{**names, "LayerwiseCompressor": Compressor})


class _CoreML:
    """optimize.coreml, or a module of it; its functions run with the fault at work."""

    def __init__(self, mutant: Mutant, module: ModuleType = coreml) -> None:
        self._mutant = mutant
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, type):
            return found
        if isinstance(found, ModuleType):
            return _CoreML(self._mutant, found)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._mutant.at_work():
                return found(*args, **kwargs)

        return call
