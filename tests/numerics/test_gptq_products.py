"""Products added in place, by oneDNN or by PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from coreml_assay.numerics.gptq import products
from coreml_assay.numerics.gptq.products import add_product

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN"
)
LAYOUTS = {
    "contiguous": lambda matrix: matrix.contiguous(),
    "transposed": lambda matrix: matrix.t().contiguous().t(),
    "padded": lambda matrix: torch.nn.functional.pad(matrix, (0, 3))[:, : matrix.shape[1]],
    "padded, transposed": lambda matrix: torch.nn.functional.pad(matrix.t(), (0, 3))[
        :, : matrix.shape[0]
    ].t(),
}


@pytest.fixture(autouse=True)
def fresh():
    products._onednn.cache_clear()
    yield
    products._onednn.cache_clear()


def matrices(m, k, n):
    generator = torch.Generator().manual_seed(0)
    shapes = ((m, n), (m, k), (k, n))
    return [torch.randint(-8, 9, shape, generator=generator).float() for shape in shapes]


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (600, 530, 140)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("negative", [False, True])
def test_whole_numbers_are_added_exactly(shape, layout, negative):
    out, a, b = matrices(*shape)
    expected = out - a @ b if negative else out + a @ b
    arranged = [LAYOUTS[layout](matrix) for matrix in (out, a, b)]
    add_product(*arranged, negative=negative)
    assert torch.equal(arranged[0], expected)
    assert torch.equal(arranged[1], a)
    assert torch.equal(arranged[2], b)


@needs_onednn
def test_large_products_are_onednns_and_small_ones_are_not(monkeypatch):
    asked = []

    def product(a, b):
        asked.append(tuple(a.shape))
        return a @ b

    monkeypatch.setattr(products, "_product", product)
    add_product(*matrices(128, 512, 128))
    assert asked == [(2, 3), (128, 512)]  # the first is a trial
    add_product(*matrices(128, 512, 127))
    assert len(asked) == 2


@needs_onednn
def test_onednn_stands_the_trial():
    # Otherwise nothing here would fail: PyTorch would multiply.
    assert products._onednn() is products._product


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_weight_is_contiguous_one_way_or_the_other(layout):
    b = LAYOUTS[layout](torch.arange(12.0).view(3, 4))
    weight = products._as_weight(b)
    assert weight.is_contiguous() or weight.t().is_contiguous()
    assert torch.equal(weight, b.t())


def raises(error):
    def product(a, b):
        raise error

    return product


@pytest.mark.parametrize(
    "product",
    [
        raises(AttributeError("no such operator")),
        raises(RuntimeError("other arguments")),
        raises(TypeError("other arguments")),
        lambda a, b: 2 * (a @ b),
    ],
    ids=["gone", "other arguments", "other types", "something else"],
)
def test_without_onednn_as_it_was_pytorch_multiplies(monkeypatch, product):
    monkeypatch.setattr(products, "_product", product)
    out, a, b = matrices(600, 530, 140)
    expected = out + a @ b
    add_product(out, a, b)
    assert torch.equal(out, expected)
