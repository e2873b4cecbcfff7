"""Resizing and resampling images. Source: ``image_resizing`` of iOS15, iOS16, iOS17."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from coreml_assay.mil.ops._arguments import Operation, ints, take
from coreml_assay.mil.ops._sampling import fold, grid, interpolate, nearest, sample


def upsample_nearest_neighbor(
    *, x: torch.Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> torch.Tensor:
    """The last two dimensions by scale factors; output i takes pixel floor(i * in / out)."""
    factors = (scale_factor_height, scale_factor_width)
    for dim, factor in enumerate(factors, start=x.ndim - 2):
        length = x.shape[dim]
        count = _scaled(length, factor)
        x = take(x, dim, torch.arange(count).mul(length).div(count, rounding_mode="floor"))
    return x


def resize_nearest_neighbor(
    *, x: torch.Tensor, target_size_height: int, target_size_width: int
) -> torch.Tensor:
    """The last two dimensions to a size; each output takes the pixel that holds its centre."""
    return _resize(x, (target_size_height, target_size_width), "NEAREST_NEIGHBOR", "DEFAULT")


def upsample_bilinear(
    *,
    x: torch.Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> torch.Tensor:
    """The last two dimensions by scale factors, which are computed anew from the output size.

    half_pixel_centers (iOS16) is the opposite of align_corners unless given.
    """
    half = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and half:
        raise ValueError("align_corners and half_pixel_centers exclude each other")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    factors = (scale_factor_height, scale_factor_width)
    sizes = [_scaled(size, factor) for size, factor in zip(x.shape[-2:], factors, strict=True)]
    return _resize(x, sizes, "LINEAR", mode)


def _scaled(length: int, factor: float) -> int:
    """floor(length * factor) in float32, the type that factors are stored in."""
    return math.floor(float(np.float32(length) * np.float32(factor)))


def resize_bilinear(
    *,
    x: torch.Tensor,
    target_size_height: int = 1,
    target_size_width: int = 1,
    sampling_mode: str = "DEFAULT",
) -> torch.Tensor:
    """The last two dimensions to a size, linearly interpolated."""
    return _resize(x, (target_size_height, target_size_width), "LINEAR", sampling_mode)


def resize(
    *,
    x: torch.Tensor,
    shape: torch.Tensor,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> torch.Tensor:
    """The last resized_dims dimensions to the last lengths of shape; 0 keeps a dimension."""
    target = ints(shape)[-int(resized_dims) :]
    kept = x.shape[x.ndim - len(target) :]
    sizes = [size or old for size, old in zip(target, kept, strict=True)]
    return _resize(x, sizes, interpolation_mode, sampling_mode)


def _resize(
    x: torch.Tensor, sizes: list[int] | tuple[int, ...], interpolation: str, sampling: str
) -> torch.Tensor:
    """The last dimensions to the sizes, one after the other."""
    for dim, size in enumerate(sizes, start=x.ndim - len(sizes)):
        if interpolation == "NEAREST_NEIGHBOR":
            x = take(x, dim, nearest(x.shape[dim], size, sampling))
        elif interpolation == "LINEAR":
            ends = torch.tensor([[0.0], [x.shape[dim] - 1.0]], dtype=torch.float64)
            x = interpolate(x, dim, grid(ends[0], ends[1], size, sampling)[0])
        else:
            raise ValueError(f"unknown interpolation_mode {interpolation!r}")
    return x


def crop(*, x: torch.Tensor, crop_height: Sequence[int], crop_width: Sequence[int]) -> torch.Tensor:
    """``x`` without so many rows at top and bottom, and columns at left and right."""
    (top, bottom), (left, right) = crop_height, crop_width
    height, width = x.shape[-2:]
    return x[..., top : height - bottom, left : width - right]


_BOX_ORDER = {
    "CORNERS_HEIGHT_FIRST": (0, 1, 2, 3),
    "CORNERS_WIDTH_FIRST": (1, 0, 3, 2),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, 2, 3),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, 3, 2),
}


def crop_resize(
    *,
    x: torch.Tensor,
    roi: torch.Tensor | None = None,
    boxes: torch.Tensor | None = None,
    box_indices: torch.Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> torch.Tensor:
    """Boxes cut from x [B, C, H, W] and resized with bilinear interpolation.

    Up to iOS16 boxes come as roi, [N, 1, 4, 1, 1] for all images, giving [N, B, C, h, w], or
    [N, 1, 5, 1, 1] with an image index in front, giving [N, 1, C, h, w]. From iOS17 they come as
    boxes [N, 4] and box_indices [N], 0 .. N - 1 by default, giving [N, C, h, w].
    """
    batch = x.shape[0]
    if boxes is not None:
        indices = torch.arange(len(boxes)) if box_indices is None else torch.as_tensor(box_indices)
        shape = (len(boxes), *x.shape[1:2])
    elif roi is None:
        raise ValueError("needs roi or boxes")
    elif roi.shape[2] == 5:
        boxes = roi.reshape(-1, 5)
        indices, boxes = boxes[:, 0], boxes[:, 1:]
        shape = (len(boxes), 1, x.shape[1])
    else:
        boxes = roi.reshape(-1, 4)
        shape = (len(boxes), *x.shape[:2])
        indices = torch.arange(batch).repeat(len(boxes))
        boxes = boxes.repeat_interleave(batch, dim=0)
    indices = indices.to(torch.int64)
    if ((indices < 0) | (indices >= batch)).any():
        raise ValueError(f"a box asks for an image outside the batch of {batch}")
    corners = _corners(boxes.to(torch.float64), box_coordinate_mode)
    if normalized_coordinates:
        height, width = x.shape[-2:]
        corners = corners * torch.tensor([height - 1, width - 1, height - 1, width - 1])
    top, left, bottom, right = (corners * spatial_scale).unbind(1)
    rows = grid(top, bottom, target_height, sampling_mode)
    columns = grid(left, right, target_width, sampling_mode)
    count, size = len(boxes), (target_height, target_width)
    rows = rows[:, :, None].expand(count, *size)
    columns = columns[:, None, :].expand(count, *size)
    y = sample(x[indices], rows, columns, "bilinear", 0.0)
    beyond = (rows < 0) | (rows > x.shape[-2] - 1) | (columns < 0) | (columns > x.shape[-1] - 1)
    y = torch.where(beyond.unsqueeze(1), pad_value, y)
    return y.reshape(*shape, *size)


def _corners(boxes: torch.Tensor, mode: str) -> torch.Tensor:
    """Boxes [N, 4] as top, left, bottom, right."""
    boxes = boxes[:, list(_BOX_ORDER[mode])]
    if mode.startswith("CORNERS"):
        return boxes
    centre, size = boxes[:, :2], boxes[:, 2:]
    return torch.cat([centre - size / 2, centre + size / 2], 1)


def resample(
    *,
    x: torch.Tensor,
    coordinates: torch.Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> torch.Tensor:
    """``x`` [B, C, H1, W1] at coordinates [B, H2, W2, 2], given as (x, y)."""
    pixels = []
    for axis, length in ((0, x.shape[-1]), (1, x.shape[-2])):
        points = coordinates[..., axis].to(x.dtype)
        points = _to_pixels(points, length, coordinates_mode, align_corners)
        pixels.append(fold(points, length, padding_mode))
    return sample(x, pixels[1], pixels[0], sampling_mode, padding_value)


def _to_pixels(
    points: torch.Tensor, length: int, coordinates_mode: str, align_corners: bool
) -> torch.Tensor:
    """Coordinates as pixels: the extremes are the outermost pixels' centres if aligned."""
    if coordinates_mode == "unnormalized":
        return points
    if coordinates_mode == "normalized_minus_one_to_one":
        points = (points + 1) / 2
    elif coordinates_mode != "normalized_zero_to_one":
        raise ValueError(f"unknown coordinates_mode {coordinates_mode!r}")
    return points * (length - 1) if align_corners else points * length - 0.5


def affine(
    *,
    x: torch.Tensor,
    transform_matrix: torch.Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> torch.Tensor:
    """``x`` [B, C, H, W] at the places that a matrix [B or 1, 6] maps each output pixel to."""
    if coordinates_mode != "normalized_minus_one_to_one" or not align_corners:
        raise ValueError("only aligned coordinates from minus one to one are documented")
    horizontal = torch.linspace(-1, 1, output_width, dtype=x.dtype)[None, :]
    vertical = torch.linspace(-1, 1, output_height, dtype=x.dtype)[:, None]
    a0, a1, a2, b0, b1, b2 = transform_matrix[:, :, None, None].unbind(1)
    places = torch.stack(
        [a0 * horizontal + a1 * vertical + a2, b0 * horizontal + b1 * vertical + b2], -1
    )
    return resample(
        x=x,
        coordinates=places.expand(x.shape[0], -1, -1, -1),
        sampling_mode=sampling_mode,
        padding_mode=padding_mode,
        padding_value=padding_value,
        coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )


IMAGE_RESIZING: dict[str, Operation] = {
    "affine": affine,
    "crop": crop,
    "crop_resize": crop_resize,
    "resample": resample,
    "resize": resize,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
