"""GPTQ in float64 as its paper has it, written to be read: one column after another.

With R the upper Cholesky factor of H^-1, H^-1 = R^T R, column i is rounded to q_i, and its error,
divided by R_ii, is made good in all later columns:

    e = (w_i - q_i) / R_ii        w_j <- w_j - e R_ij    for j > i

Source: arXiv 2210.17323, algorithm 1; the damping and the order of columns are its section 3.3's.
"""

from __future__ import annotations

import torch

from coreml_assay.numerics.gptq.parameters import Rounder
from coreml_assay.numerics.gptq.spec import GPTQSpec


def quantize(weight: torch.Tensor, hessian: torch.Tensor, spec: GPTQSpec) -> torch.Tensor:
    """The dequantized weight of `gptq.quantize`, slowly and in float64.

    Args:
        weight: shape (rows, columns).
        hessian: shape (columns, columns), with a positive diagonal; not raised where the damping
            is too little.
        spec: how; without ``scale_search`` and ``per_tensor``.

    Returns:
        float64, shape (rows, columns).
    """
    original = weight.double()
    W, H = original.clone(), hessian.double()
    columns = H.shape[0]
    H = H + spec.hessian_dampening * H.diagonal().mean() * torch.eye(columns)
    order = torch.arange(columns)
    if spec.activation_order:
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    W, H = W[:, order], H[order][:, order]
    R = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    Q = torch.empty_like(W)
    rounder = Rounder.of(spec, weight.device)
    size = spec.block_columns or columns
    parameters = {}
    for i in range(columns):
        block = int(order[i]) // size
        if block not in parameters:
            members = slice(block * size, (block + 1) * size)
            values = original if spec.scales_come_first else W
            parameters[block] = rounder.parameters(values[:, members].t())
        s, z = parameters[block]
        Q[:, i] = rounder.values(rounder.codes(W[:, i], s, z), s, z)
        e = (W[:, i] - Q[:, i]) / R[i, i]
        W[:, i:] -= torch.outer(e, R[i, i:])
    return Q[:, torch.argsort(order)]
