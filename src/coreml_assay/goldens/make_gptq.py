"""Golden cases of GPTQ, made with real coremltools."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from coreml_assay.goldens.gptq import GPTQCase, GPTQCases, arguments_of
from coreml_assay.goldens.make_weights import SEED
from coreml_assay.goldens.near_ties import clear_rows
from coreml_assay.goldens.store import GoldenError
from coreml_assay.implementations import Unsupported
from coreml_assay.numerics.blocks import Array

_CLEARANCE = 1e-3  # steps; float32 errs by some 5e-5
_GROUP = 128


def gptq_cases(coremltools: Any, arrays: dict[str, Array]) -> GPTQCases:
    """Quantize matrices under calibration inputs with coremltools.

    Args:
        coremltools: the implementation.
        arrays: the arrays of the cases are added to it.

    Raises:
        GoldenError: torch is not installed.
    """
    rng = np.random.default_rng([SEED, 2])
    for columns in (64, 128, 256):
        arrays[f"x{columns}"] = _inputs(rng, columns)
    arrays["ordinary"] = _weight(rng, 128, 128)
    arrays["saturating"] = np.abs(_weight(rng, 32, 64))
    cases = GPTQCases(
        clear=tuple(_clear(rng, arrays)),
        ordinary=tuple(_over(arrays, "ordinary", (True, False), (0, 32))),
        saturating=tuple(_over(arrays, "saturating", (True,), (0,))),
    )
    for case in (*cases.clear, *cases.ordinary, *cases.saturating):
        try:
            found = coremltools.gptq(*arguments_of(case, arrays))
        except Unsupported as error:
            raise GoldenError(f"{error}: pip install coreml-assay[torch]") from error
        for field, value in found._asdict().items():
            arrays[f"{case.name}.{field}"] = value
    return cases


def _inputs(rng: np.random.Generator, columns: int) -> Array:
    """Inputs whose columns correlate, no two of them of the same or nearly the same size."""
    mixing = rng.standard_normal((columns, columns)) / np.sqrt(columns) + 0.5 * np.eye(columns)
    x = rng.standard_normal((4 * 64, columns)) @ mixing
    x *= rng.permutation(np.linspace(1, 2, columns)) / np.sqrt((x**2).mean(axis=0))
    found: Array = x.astype(np.float16).reshape(4, 64, columns)
    return found


def _weight(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return (rng.standard_normal((rows, columns)) / 4).astype(np.float32)


def _clear(rng: np.random.Generator, arrays: dict[str, Array]) -> Iterator[GPTQCase]:
    """A case for each spec, whose weight is made for it."""
    for case in _specs("clear", "", 256, (True, False), (0, 32, 128)):
        inputs = list(arrays["x256"].astype(np.float32))
        weight = clear_rows(_weight(rng, 64, 256), inputs, [case.spec], 8, _CLEARANCE)
        arrays[case.weight] = weight
        yield case


def _over(
    arrays: dict[str, Array], weight: str, symmetric: tuple[bool, ...], blocks: tuple[int, ...]
) -> Iterator[GPTQCase]:
    """A case for each spec, all with one weight."""
    yield from _specs(weight, weight, arrays[weight].shape[1], symmetric, blocks)


def _specs(
    kind: str, weight: str, columns: int, symmetric: tuple[bool, ...], blocks: tuple[int, ...]
) -> Iterator[GPTQCase]:
    for bits, even, block, order in product((4, 8), symmetric, blocks, (False, True)):
        scheme = "symmetric" if even else "affine"
        name = f"{kind}-uint{bits}-{scheme}-{block or 'row'}{'-ordered' if order else ''}"
        yield GPTQCase(
            name=name,
            weight=weight or f"{name}.weight",
            inputs=f"x{columns}",
            bits=bits,
            symmetric=even,
            block_size=block,
            activation_order=order,
            # In larger groups coremltools 9.0 takes scales from weights that are out of date.
            processing_group_size=min(block or _GROUP, _GROUP),
        )
