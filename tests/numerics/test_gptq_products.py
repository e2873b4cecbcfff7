"""Products added in place, by the kernel and by PyTorch."""

from __future__ import annotations

import pytest
import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq import products
from coreml_assay.numerics.gptq.products import add_product, compensating

needs_avx512 = pytest.mark.skipif(
    "avx512" not in native.available(), reason="the kernel is compiled for AVX-512 alone"
)
LAYOUTS = {
    "contiguous": lambda matrix: matrix.contiguous(),
    "transposed": lambda matrix: matrix.t().contiguous().t(),
    "padded": lambda matrix: torch.nn.functional.pad(matrix, (0, 3))[:, : matrix.shape[1]],
    "padded, transposed": lambda matrix: torch.nn.functional.pad(matrix.t(), (0, 3))[
        :, : matrix.shape[0]
    ].t(),
}
# Tiles have 6 rows and 64 columns, sums 256 terms, and 256 rows go together.
SHAPES = [
    *[(rows, 3, 5) for rows in range(1, 8)],
    *[(5, 7, columns) for columns in (63, 64, 65)],
    *[(9, terms, 66) for terms in (255, 256, 257, 600)],
    *[(rows, 260, 140) for rows in (256, 257, 600)],
]


@pytest.fixture(params=["0", *native.available()])
def path(request, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, request.param)


def matrices(m, k, n):
    generator = torch.Generator().manual_seed(0)
    shapes = ((m, n), (m, k), (k, n))
    return [torch.randint(-8, 9, shape, generator=generator).float() for shape in shapes]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("negative", [False, True])
def test_whole_numbers_are_added_exactly(path, shape, layout, negative):
    out, a, b = matrices(*shape)
    expected = out - a @ b if negative else out + a @ b
    arranged = [LAYOUTS[layout](matrix) for matrix in (out, a, b)]
    add_product(*arranged, negative=negative)
    assert torch.equal(arranged[0], expected)
    assert torch.equal(arranged[1], a)
    assert torch.equal(arranged[2], b)


@pytest.mark.parametrize("around", [torch.nan, -0.0])  # which becomes 0 if 0 is added
def test_what_lies_around_stays_and_is_not_looked_at(path, around):
    out, a, b = (
        torch.nn.functional.pad(matrix, (1, 1, 1, 1), value=around)
        for matrix in matrices(100, 300, 70)
    )
    inside = slice(1, -1), slice(1, -1)
    expected = out.clone()
    expected[inside] += a[inside] @ b[inside]
    add_product(out[inside], a[inside], b[inside])
    assert torch.equal(out.view(torch.int32), expected.view(torch.int32))


@needs_avx512
def test_the_kernel_is_as_near_to_float64_as_pytorch(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 700, 700, generator=generator)
    exact = a.double() @ b.double()
    errors = []
    for choice in ("0", "avx512"):
        monkeypatch.setenv(native.VARIABLE, choice)
        out = torch.zeros(700, 700)
        add_product(out, a, b)
        errors.append(float((out - exact).abs().max()))
    assert errors[1] <= 1.5 * errors[0]


@needs_avx512
@pytest.mark.parametrize("transposed", [None, "out", "b"])
def test_the_kernel_multiplies_what_lies_along_rows(monkeypatch, transposed):
    monkeypatch.setenv(native.VARIABLE, "avx512")
    asked, kernel = [], native.kernel("gptq_add_product", *products._ARGUMENTS)

    def recording(*arguments):
        asked.append(arguments[:3])
        return kernel(*arguments)

    monkeypatch.setattr(products.native, "kernel", lambda *_: recording)
    out, a, b = matrices(8, 9, 10)
    if transposed == "out":
        out = LAYOUTS["transposed"](out)
    if transposed == "b":
        b = LAYOUTS["transposed"](b)
    add_product(out, a, b)
    assert asked == ([(8, 10, 9)] if transposed is None else [])


@pytest.mark.parametrize("path", ["0", *native.available()])
def test_the_kernel_is_there_for_avx512_alone(monkeypatch, path):
    monkeypatch.setenv(native.VARIABLE, path)
    found = products._kernel(torch.device("cpu"))
    assert (found is not None) is (path == "avx512")


@needs_avx512
def test_compensating_prepares_the_kernel_once(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "avx512")
    _, lower, work = matrices(130, 130, 70)
    expected = work.clone()
    add_product(expected[3:7], lower[3:7, :3], work[:3])
    monkeypatch.setattr(products, "add_product", None)  # not to be used
    compensate = compensating(work, lower)
    monkeypatch.setattr(products, "_kernel", None)
    compensate(0, 3, 7)
    assert torch.equal(work, expected)


def test_no_kernel_is_asked_for_what_is_on_another_device(monkeypatch):
    monkeypatch.setattr(products.native, "kernel", None)
    add_product(*(torch.empty(2, 2, device="meta") for _ in range(3)))


@pytest.mark.parametrize("steps", [(0, 3, 7), (2, 3, 4), (0, 64, 130), (5, 69, 130)])
def test_compensating_is_adding_a_product(path, steps):
    _, lower, work = matrices(130, 130, 70)
    lower = LAYOUTS["padded"](lower)
    start, middle, stop = steps
    expected = work.clone()
    add_product(expected[middle:stop], lower[middle:stop, start:middle], expected[start:middle])
    assert not torch.equal(expected, work)
    compensating(work, lower)(*steps)
    assert torch.equal(work, expected)
