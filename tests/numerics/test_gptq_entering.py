"""Entering a block: its targets, and the weights as GPTQ would have them there."""

from __future__ import annotations

import pytest
import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq import kernel, sweep

needs_avx512 = pytest.mark.skipif(
    "avx512" not in native.available(), reason="the kernel is compiled for AVX-512 alone"
)
START = 3
SHAPES = [
    (rows, columns) for rows in (1, 63, 64, 65, 200) for columns in (1, 5, 6, 7, 9, 12, 70, 128)
]


def problem(rows, columns):
    """Whole numbers, small enough that float32 has no rounding; NaN where nothing is to be read."""
    generator = torch.Generator().manual_seed(rows * 1000 + columns)

    def whole(*shape):
        return torch.randint(-8, 9, shape, generator=generator).float()

    every = START + columns + 2
    weight, work = whole(rows, every), whole(every, rows)
    lower = whole(every, every + 3)[:, :every].clamp(-1, 1)
    lower[torch.rand(every, every, generator=generator) < 0.8] = 0
    lower[torch.ones(every, every).triu() > 0] = torch.nan
    return weight, work, lower


def in_words(weight, work, lower, columns):
    """The block's w and v, one column after the other."""
    w = weight[:, START : START + columns].t()
    v = torch.empty_like(w)
    for k in range(columns):
        v[k] = w[k] + work[START + k]
        for i in range(k):
            v[k] += (w[i] - v[i]) * lower[START + k, START + i]
    return w, v


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_entering_solves_the_equations(shape):
    rows, columns = shape
    weight, work, lower = problem(rows, columns)
    w, v = in_words(weight, work, lower, columns)
    targets = work.clone()
    targets[START : START + columns] += w
    original, compensated = sweep.enter(weight, work, lower, START, START + columns)
    assert torch.equal(original, w)
    assert original.is_contiguous()
    assert torch.equal(compensated, v)
    assert torch.equal(work, targets)


@needs_avx512
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("extremes", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_kernel_enters_in_the_same_way(monkeypatch, shape, extremes, transposed):
    monkeypatch.setenv(native.VARIABLE, "avx512")
    rows, columns = shape
    weight, work, lower = problem(rows, columns)
    expected_work = work.clone()
    w, v = sweep.enter(weight, expected_work, lower, START, START + columns)
    if transposed:
        weight = weight.t().contiguous().t()
    enter = kernel.entering(weight, work, lower, extremes=extremes)
    original, compensated = enter(START, START + columns)
    assert torch.equal(original, w)
    expected = torch.stack([v.amin(0), v.amax(0)]) if extremes else v
    assert torch.equal(compensated, expected)
    assert torch.equal(work, expected_work)


@pytest.mark.parametrize("path", ["0", *(isa for isa in native.available() if isa != "avx512")])
def test_elsewhere_there_is_no_kernel_to_enter_with(monkeypatch, path):
    monkeypatch.setenv(native.VARIABLE, path)
    assert kernel.entering(*problem(2, 3), extremes=True) is None


def test_no_kernel_enters_what_is_on_another_device():
    elsewhere = [tensor.to("meta") for tensor in problem(2, 3)]
    assert kernel.entering(*elsewhere, extremes=True) is None
