"""Where resizing operations sample an image, and the values there."""

from __future__ import annotations

import torch

from coreml_assay.mil.ops._arguments import take


def grid(start: torch.Tensor, end: torch.Tensor, count: int, mode: str) -> torch.Tensor:
    """Points at which to sample the interval [start, end], by the documented formulas.

    With X_in = end - start + 1 and X_out = count, the formulas are those of ``resize_bilinear``,
    moved by start. A crop box may run backwards, so that end < start.

    Args:
        start: first pixel, shape [n], float64.
        end: last pixel, shape [n], float64.
        count: points for each interval.
        mode: a sampling_mode.

    Returns:
        [n, count], float64.

    Raises:
        ValueError: an unknown mode.
    """
    start, end = start[:, None], end[:, None]
    extent = end - start
    i = torch.arange(count, dtype=torch.float64)
    if mode == "STRICT_ALIGN_CORNERS" or (mode == "ALIGN_CORNERS" and count > 1):
        offset = i * (extent / max(count - 1, 1))
    elif mode == "ALIGN_CORNERS":
        offset = extent / 2
    elif mode == "DEFAULT":
        offset = i * ((extent + 1) / count)
    elif mode == "OFFSET_CORNERS":
        delta = extent.clamp(min=1) / count
        offset = 0.5 * delta + i * delta
    elif mode == "UNALIGN_CORNERS":
        spacing = (extent + 1) / count
        offset = i * spacing + 0.5 * spacing - 0.5
    else:
        raise ValueError(f"unknown sampling_mode {mode!r}")
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    return torch.minimum(torch.maximum(start + offset, low), high)


def nearest(length: int, count: int, mode: str) -> torch.Tensor:
    """The pixels that nearest-neighbour resizing from length to count takes, int64 [count].

    DEFAULT and UNALIGN_CORNERS take the pixel that holds the centre of the output pixel: that is
    what coremltools converts TensorFlow's ``half_pixel_centers`` to. The others round their grid
    point, halves up.
    """
    if mode in ("DEFAULT", "UNALIGN_CORNERS"):
        return torch.arange(count).mul(2).add(1).mul(length).div(2 * count, rounding_mode="floor")
    ends = torch.tensor([0.0, length - 1.0], dtype=torch.float64)
    points = grid(ends[:1], ends[1:], count, mode)[0]
    return torch.floor(points + 0.5).to(torch.int64).clamp(0, length - 1)


def interpolate(x: torch.Tensor, dim: int, points: torch.Tensor) -> torch.Tensor:
    """``x`` linearly interpolated along a dimension, at points inside it, float64 [count]."""
    if not x.is_floating_point():
        x = x.to(torch.float64)
    low = torch.floor(points).clamp(0, x.shape[dim] - 1)
    high = (low + 1).clamp(max=x.shape[dim] - 1)
    shape = [1] * x.ndim
    shape[dim] = -1
    share = (points - low).to(x.dtype).reshape(shape)
    before = take(x, dim, low.to(torch.int64))
    after = take(x, dim, high.to(torch.int64))
    return torch.lerp(before, after, share)


def fold(points: torch.Tensor, length: int, padding_mode: str) -> torch.Tensor:
    """Points outside [0, length - 1] moved to where the padding mode takes its values from.

    ``constant`` leaves them: what lies outside is handled where the pixels are read.
    """
    last = length - 1
    if padding_mode == "border":
        return points.clamp(0, last)
    if padding_mode == "reflection":  # about the centres of the outermost pixels
        return _reflect(points, last) if last else torch.zeros_like(points)
    if padding_mode == "symmetric":  # about their outer edges
        return (_reflect(points + 0.5, length) - 0.5).clamp(0, last)
    if padding_mode == "constant":
        return points
    raise ValueError(f"unknown padding_mode {padding_mode!r}")


def _reflect(points: torch.Tensor, period: float) -> torch.Tensor:
    """Points mirrored into [0, period] as often as it takes."""
    return period - (period - points.remainder(2 * period)).abs()


def sample(
    image: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    sampling_mode: str,
    outside: float,
) -> torch.Tensor:
    """Values of images at pixel coordinates.

    Args:
        image: [n, C, H, W].
        rows: [n, *P], in any floating-point dtype.
        columns: [n, *P].
        sampling_mode: bilinear or nearest.
        outside: the value of every pixel outside the image.

    Returns:
        [n, C, *P] in the image's dtype.

    Raises:
        ValueError: an unknown mode.
    """
    if sampling_mode == "nearest":
        return _pixels(image, torch.round(rows), torch.round(columns), outside)
    if sampling_mode != "bilinear":
        raise ValueError(f"unknown sampling_mode {sampling_mode!r}")
    top, left = torch.floor(rows), torch.floor(columns)
    down = (rows - top).to(image.dtype).unsqueeze(1)
    right = (columns - left).to(image.dtype).unsqueeze(1)
    upper = _pixels(image, top, left, outside) * (1 - right)
    upper = upper + _pixels(image, top, left + 1, outside) * right
    lower = _pixels(image, top + 1, left, outside) * (1 - right)
    lower = lower + _pixels(image, top + 1, left + 1, outside) * right
    return upper * (1 - down) + lower * down


def _pixels(
    image: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, outside: float
) -> torch.Tensor:
    """The pixels at whole coordinates, or the given value where there are none."""
    height, width = image.shape[-2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    r, c = rows.clamp(0, height - 1).to(torch.int64), columns.clamp(0, width - 1).to(torch.int64)
    n = torch.arange(image.shape[0]).reshape([-1] + [1] * (rows.ndim - 1))
    values = image.movedim(1, -1)[n, r, c].movedim(-1, 1)
    return torch.where(inside.unsqueeze(1), values, outside)
