"""Reading from and writing to places given by indices.

Source: ``scatter_gather`` of iOS15, iOS16 and iOS17. Up to iOS16 negative indices count from the
end. From iOS17 they are out of bounds, and `validate_indices` says whether indices out of bounds
are an error; if not, the result is documented as undefined. Here negative ones then still count
from the end, which programs written for earlier versions rely upon, and others are moved to the
nearest element.
"""

from __future__ import annotations

import math

import torch

from coreml_assay.mil.ops._arguments import Operation, along, axis_of, take

_REDUCTIONS = {
    "add": "sum",
    "sub": "sum",
    "mul": "prod",
    "div": "prod",
    "max": "amax",
    "min": "amin",
}


def _positions(
    indices: torch.Tensor, length: int | torch.Tensor, validate: bool | None
) -> torch.Tensor:
    """Indices as positions in [0, length).

    Args:
        indices: of any integer type.
        length: of the indexed dimension, or one for each element of the last axis.
        validate: None up to iOS16, then whether what is out of bounds is an error.
    """
    indices = indices.to(torch.int64)
    if validate is not False:
        lowest = -length if validate is None else 0
        outside = (indices < lowest) | (indices >= length)
        if outside.any():
            raise ValueError(f"index {indices[outside][0].item()} is out of bounds")
    indices = torch.where(indices < 0, indices + length, indices)
    return torch.clamp(indices, torch.tensor(0), torch.as_tensor(length) - 1)


def gather(
    *,
    x: torch.Tensor,
    indices: torch.Tensor,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool | None = None,
) -> torch.Tensor:
    """Slices of x along the axis: D[:axis] + N[batch_dims:] + D[axis + 1:].

    The first batch_dims dimensions of x and indices belong together.
    """
    axis = axis_of(axis, x.ndim)
    positions = _positions(indices, x.shape[axis], validate_indices)
    found = positions.shape[batch_dims:]
    shape = [*x.shape[:axis], *found, *x.shape[axis + 1 :]]
    if batch_dims == 0:
        return take(x, axis, positions.reshape(-1)).reshape(shape)
    flat = positions.reshape(*positions.shape[:batch_dims], -1)
    spread = [*flat.shape[:batch_dims], *[1] * (axis - batch_dims), flat.shape[-1]]
    flat = flat.reshape(spread + [1] * (x.ndim - axis - 1))
    target = [*x.shape[:axis], flat.shape[axis], *x.shape[axis + 1 :]]
    return torch.gather(x, axis, flat.expand(target)).reshape(shape)


def gather_along_axis(
    *,
    x: torch.Tensor,
    indices: torch.Tensor,
    axis: int = 0,
    validate_indices: bool | None = None,
) -> torch.Tensor:
    """Elements of x at the indices' values along the axis, and the same place otherwise."""
    positions = _positions(indices, x.shape[axis], validate_indices)
    return torch.gather(x, axis, positions)


def gather_nd(
    *,
    x: torch.Tensor,
    indices: torch.Tensor,
    batch_dims: int = 0,
    validate_indices: bool | None = None,
) -> torch.Tensor:
    """Slices of x at the indices in the last axis: K[:-1] + D[batch_dims + K[-1]:]."""
    batch, depth = x.shape[:batch_dims], indices.shape[-1]
    lengths = torch.tensor(x.shape[batch_dims : batch_dims + depth])
    positions = _positions(indices, lengths, validate_indices)
    counters = [
        along(torch.arange(length), axis, indices.ndim - 1) for axis, length in enumerate(batch)
    ]
    places = (*counters, *positions.unbind(-1))
    return x[places]


def scatter(
    *,
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    mode: str,
    axis: int = 0,
    validate_indices: bool | None = None,
) -> torch.Tensor:
    """Data with slice i of the updates put in, by the mode, at indices[i] along the axis."""
    axis = axis_of(axis, data.ndim)
    positions = _positions(indices, data.shape[axis], validate_indices)
    index = along(positions, axis, data.ndim).expand(updates.shape)
    return _put(data, axis, index, updates, mode)


def scatter_along_axis(
    *,
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    mode: str,
    axis: int = 0,
    validate_indices: bool | None = None,
) -> torch.Tensor:
    """Data with each update put in, by the mode, at its index along the axis."""
    positions = _positions(indices, data.shape[axis], validate_indices)
    return _put(data, axis, positions, updates, mode)


def scatter_nd(
    *,
    data: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    mode: str,
    validate_indices: bool | None = None,
) -> torch.Tensor:
    """Data with slices of the updates put in, by the mode, at the indices in the last axis."""
    depth = indices.shape[-1]
    lead, rest = data.shape[:depth], data.shape[depth:]
    positions = _positions(indices, torch.tensor(lead), validate_indices)
    weights = torch.tensor([math.prod(lead[i + 1 :]) for i in range(depth)])
    rows = (positions * weights).sum(-1).reshape(-1, 1)
    flat, slices = data.reshape(-1, math.prod(rest)), updates.reshape(-1, math.prod(rest))
    return _put(flat, 0, rows.expand(slices.shape), slices, mode).reshape(data.shape)


def _put(
    data: torch.Tensor, dim: int, index: torch.Tensor, updates: torch.Tensor, mode: str
) -> torch.Tensor:
    """Data combined with the updates at an index of the updates' shape."""
    if mode == "update":
        return data.scatter(dim, index, updates)
    if mode == "sub":
        updates = -updates
    if mode == "div":  # divide once by the product of all updates that meet in one place
        divisor = torch.ones_like(data).scatter_reduce(dim, index, updates, "prod")
        return data / divisor
    return data.scatter_reduce(dim, index, updates, _REDUCTIONS[mode])


SCATTER_GATHER: dict[str, Operation] = {
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}
