"""What GPTQ on one weight refuses, in which words."""

from __future__ import annotations

import re

import gptq_helpers as helpers
import pytest
import torch

from coreml_assay.numerics.gptq import GPTQError, quantize

WEIGHT, HESSIAN = torch.ones(2, 3), torch.eye(3)


def holding(value):
    weight = WEIGHT.clone()
    weight[1, 2] = value
    return weight


@pytest.mark.parametrize(
    ("weight", "hessian", "message"),
    [
        (
            torch.ones(3),
            HESSIAN,
            "the weight must have shape (rows, columns), not empty, got (3,)",
        ),
        (
            torch.ones(0, 3),
            HESSIAN,
            "the weight must have shape (rows, columns), not empty, got (0, 3)",
        ),
        (WEIGHT, torch.eye(2), "the Hessian of 3 columns must have shape (3, 3), got (2, 2)"),
        (WEIGHT.double(), HESSIAN, "the weight must be float32, got torch.float64"),
        (WEIGHT, HESSIAN.half(), "the Hessian must be float32, got torch.float16"),
        (WEIGHT, HESSIAN.to("meta"), "the weight is on cpu, the Hessian on meta"),
        (holding(torch.nan), HESSIAN, "the weight holds NaN"),
        (holding(-torch.inf), HESSIAN, "the weight holds infinite values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_what_is_accepted(weight, hessian, message):
    with pytest.raises(GPTQError, match=f"^{re.escape(message)}$"):
        quantize(weight, hessian, helpers.spec())
