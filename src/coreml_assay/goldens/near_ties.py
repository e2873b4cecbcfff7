"""Weights that GPTQ rounds without a near-tie, on which exact codes can be asked for.

One target that is rounded the other way changes all later columns of its row. In float32 that
happens to targets half-way between two codes, or so near to it that the last bits decide. Rows
none of whose targets is, have one right answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coreml_assay.implementations import CalibratedWeightSpec
from coreml_assay.numerics.blocks import Array


def clearances(weight: Array, inputs: Sequence[Array], spec: CalibratedWeightSpec) -> Array:
    """How far from a near-tie GPTQ stays in each row, computed in float64.

    With R the upper Cholesky factor of H^-1, H^-1 = R^T R, column i is rounded to q_i, and its
    error, divided by R_ii, is made good in all later columns:

        e = (w_i - q_i) / R_ii        w_j <- w_j - e R_ij    for j > i

    Source: arXiv 2210.17323, algorithm 1.

    Args:
        weight: shape (rows, columns).
        inputs: batches of shape (tokens, columns).
        spec: how; over unsigned codes.

    Returns:
        float64, shape (rows,): the least distance, in steps, between any target of the row, or
        what any of its zero points is rounded from, and the middle between two codes.
    """
    X = np.concatenate(inputs).astype(np.float64)
    H = X.T @ X
    order = np.arange(len(H))
    if spec.activation_order:
        order = np.argsort(-np.diag(H), kind="stable")
    H += spec.hessian_dampening * np.diag(H).mean() * np.eye(len(H))
    R = np.linalg.cholesky(np.linalg.inv(H[order][:, order])).T
    W = weight.astype(np.float64)
    size = spec.block_shape[1] or len(H)
    least = np.full(len(W), np.inf)
    scales: dict[int, tuple[Array, Array]] = {}
    for i, column in enumerate(order):
        block = column // size
        if block not in scales:
            now = weight.astype(np.float64) if spec.activation_order else W
            members = now[:, block * size : (block + 1) * size]
            scales[block], free = _parameters(members, spec)
            least = np.minimum(least, free)
        s, z = scales[block]
        w = W[:, column]
        position = np.clip(w / s + z, spec.grid.lowest, spec.grid.highest)
        least = np.minimum(least, _distance_to_middle(position))
        e = (w - s * (np.rint(position) - z)) / R[i, i]
        W[:, order[i:]] -= np.outer(e, R[i, i:])
    return least


def clear_rows(
    candidates: Array,
    inputs: Sequence[Array],
    specs: Sequence[CalibratedWeightSpec],
    count: int,
    clearance: float,
) -> Array:
    """The first rows that stay clear of near-ties under each of the specs.

    Raises:
        ValueError: there are fewer.
    """
    clear = np.ones(len(candidates), bool)
    for spec in specs:
        clear &= clearances(candidates, inputs, spec) > clearance
    if clear.sum() < count:
        raise ValueError(f"only {clear.sum()} of {len(candidates)} rows are clear of near-ties")
    found: Array = candidates[clear][:count]
    return found


def _parameters(block: Array, spec: CalibratedWeightSpec) -> tuple[tuple[Array, Array], Array]:
    """Scale and zero point of each row, and how far the latter is from a near-tie."""
    low, high = np.minimum(block.min(1), 0), np.maximum(block.max(1), 0)
    if spec.grid.symmetric:
        scale = 2 * np.maximum(-low, high) / spec.grid.highest
        return (scale, np.full(len(block), spec.grid.middle)), np.full(len(block), np.inf)
    scale = (high - low) / spec.grid.highest
    return (scale, np.rint(-low / scale)), _distance_to_middle(-low / scale)


def _distance_to_middle(position: Array) -> Array:
    """How far each number is from the nearest one half-way between two integers."""
    distance: Array = np.abs(position - np.floor(position) - 0.5)
    return distance
