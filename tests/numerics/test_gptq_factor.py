"""The factor of a Hessian: what it is, and where it cannot be had without more dampening."""

from __future__ import annotations

import pytest
import torch

from coreml_assay.numerics import native
from coreml_assay.numerics.gptq import GPTQError, kernel
from coreml_assay.numerics.gptq.factor import factorize

COLUMNS = 200  # more than three of the blocks that the library factorizes


def product(factor):
    """L^T L of a factor."""
    lower = factor.unit_lower.tril(-1) + torch.eye(COLUMNS)
    lower = lower * factor.diagonal[:, None]
    return lower.t() @ lower


@pytest.mark.parametrize("at", [0, 62, 63, 64, 99, 130, 198])
def test_wherever_a_matrix_is_not_positive_the_dampening_is_raised(at):
    matrix = torch.eye(COLUMNS)
    matrix[at, at + 1] = matrix[at + 1, at] = 1.0005  # one eigenvalue of -0.0005
    factor = factorize(matrix, 0.0, False)
    assert factor.dampening_raised == 4
    assert factor.dampening == pytest.approx(1e-3)
    expected = matrix + 1e-3 * torch.eye(COLUMNS)
    torch.testing.assert_close(product(factor), expected, rtol=0, atol=1e-5)


def test_columns_that_weigh_the_same_keep_their_order():
    order = factorize(torch.eye(COLUMNS), 0.0, True).order
    assert order is not None
    assert order.tolist() == list(range(COLUMNS))


def test_a_hessian_without_inputs_has_a_factor_of_ones():
    factor = factorize(torch.zeros(3, 3), 0.0, False)
    assert factor.dead.all()
    assert factor.diagonal.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"^the Hessian has a negative diagonal, which no sum of squares has$"),
        (float("nan"), r"^the Hessian holds NaN or infinite values$"),
    ],
)
def test_what_is_no_hessian_is_said(value, message):
    matrix = torch.eye(3)
    matrix[1, 1] = value
    with pytest.raises(GPTQError, match=message):
        factorize(matrix, 0.01, False)


def test_the_kernel_is_there_for_tensors_of_the_cpu_alone(monkeypatch):
    monkeypatch.delenv(native.VARIABLE, raising=False)
    compiled = bool(native.available())
    assert kernel.available(torch.device("cpu")) is compiled
    assert not kernel.available(torch.device("meta"))
    monkeypatch.setenv(native.VARIABLE, "0")
    assert not kernel.available(torch.device("cpu"))
