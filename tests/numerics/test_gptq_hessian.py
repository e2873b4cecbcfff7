"""Hessian: what it refuses, in which words, and inputs in pieces."""

from __future__ import annotations

import pytest
import torch

from coreml_assay.numerics.gptq import GPTQError, Hessian, hessian


def test_a_single_column_is_a_hessian_of_one_number():
    one = Hessian(1)
    one.update(torch.tensor([[2.0], [3.0]]))
    assert one.matrix.tolist() == [[26.0]]


def test_no_column_is_an_error():
    with pytest.raises(GPTQError, match=r"^columns must be at least 1, got 0$"):
        Hessian(0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("nan", "NaN"), ("inf", "infinite values"), ("-inf", "infinite values")],
)
def test_what_a_sample_holds_is_said_with_its_number(value, kind):
    found = Hessian(3)
    found.update(torch.ones(2, 4, 3))
    before = found.matrix
    samples = torch.ones(3, 4, 3)
    samples[1, 2, 0] = float(value)
    with pytest.raises(GPTQError, match=f"^calibration sample 3 holds {kind}$"):
        found.update(samples)
    assert found.samples == 2
    assert torch.equal(found.matrix, before)


@pytest.mark.parametrize("buffer", [1, 40, 90])
def test_inputs_in_pieces_give_the_same_sums(monkeypatch, buffer):
    # Whole numbers, whose sums are exact in any order.
    inputs = torch.randint(-4, 5, (3, 50, 20), generator=torch.Generator().manual_seed(0)).float()
    monkeypatch.setattr(hessian, "_FEWEST", 1)
    monkeypatch.setattr(hessian, "_BUFFER", buffer)
    found = Hessian(20)
    found.update(inputs)
    x = inputs.reshape(-1, 20)
    assert torch.equal(found.matrix, (x.t() @ x) * (2 / 3))
