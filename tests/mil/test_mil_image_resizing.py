"""Resizing against ONNX Runtime, torch and documented grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from mil_helpers import (
    IOS15,
    IOS16,
    assert_close,
    checks,
    evaluate,
    normal,
    onnx_run,
)

ONNX_GRID = {
    "DEFAULT": "asymmetric",
    "STRICT_ALIGN_CORNERS": "align_corners",
    "UNALIGN_CORNERS": "half_pixel",
}
DOCUMENTED = [
    ("UNALIGN_CORNERS", 5, [0.0, 0.1, 0.5, 0.9, 1.0]),
    ("STRICT_ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
    ("ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
    ("DEFAULT", 5, [0.0, 0.4, 0.8, 1.0, 1.0]),
    ("OFFSET_CORNERS", 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
    ("UNALIGN_CORNERS", 6, [0.0, 0.0, 1 / 3, 2 / 3, 1.0, 1.0]),
    ("STRICT_ALIGN_CORNERS", 6, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ("DEFAULT", 6, [0.0, 1 / 3, 2 / 3, 1.0, 1.0, 1.0]),
    ("OFFSET_CORNERS", 6, [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12]),
    ("ALIGN_CORNERS", 1, [0.5]),
    ("STRICT_ALIGN_CORNERS", 1, [0.0]),
]


@checks("resize_bilinear", "resize", against="documentation")
@pytest.mark.parametrize(("mode", "count", "expected"), DOCUMENTED)
def test_linear_resizing_samples_the_documented_grid(mode, count, expected):
    x = np.array([[[0.0, 1.0]]], np.float32)
    old, new = evaluate(
        lambda x: (
            mb.resize_bilinear(
                x=x, target_size_height=1, target_size_width=count, sampling_mode=mode
            ),
            mb.resize(x=x, shape=[count], resized_dims=np.uint32(1), sampling_mode=mode),
        ),
        x=x,
    )
    assert_close(old[0, 0], expected)
    assert_close(new[0, 0], expected)


@checks("resize_bilinear", "resize", against="onnxruntime")
@pytest.mark.parametrize("mode", ONNX_GRID)
@pytest.mark.parametrize("size", [(8, 15), (3, 4), (5, 9)])
def test_linear_resizing_of_images(mode, size):
    x = normal(2, 3, 5, 6)
    old, new = evaluate(
        lambda x: (
            mb.resize_bilinear(
                x=x, target_size_height=size[0], target_size_width=size[1], sampling_mode=mode
            ),
            mb.resize(x=x, shape=[0, *size], resized_dims=np.uint32(2), sampling_mode=mode),
        ),
        flexible={"x": (None, 3, None, 6)},
        x=x,
    )
    sizes = np.array([2, 3, *size], np.int64)
    expected = onnx_run(
        "Resize",
        [x, None, None, sizes],
        mode="linear",
        coordinate_transformation_mode=ONNX_GRID[mode],
    )
    assert_close(old, expected)
    assert_close(new, expected)


@checks("resize", against="arithmetic")
def test_resizing_of_integers():
    x = np.array([[[0, 10]]], np.int32)
    found = evaluate(lambda x: mb.resize(x=x, shape=[4], resized_dims=np.uint32(1)), x=x)
    assert found.tolist() == [[[0, 5, 10, 10]]]


@checks("resize", against="onnxruntime")
def test_resize_to_a_shape_known_at_run_time():
    x, shape = normal(1, 2, 3, 4), np.array([7, 0], np.int32)
    found = evaluate(
        lambda x, shape: mb.resize(
            x=x, shape=shape, resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"
        ),
        x=x,
        shape=shape,
    )
    sizes = np.array([1, 2, 7, 4], np.int64)
    assert_close(found, onnx_run("Resize", [x, None, None, sizes], mode="linear"))


@checks("resize_nearest_neighbor", "resize", against="onnxruntime")
@pytest.mark.parametrize("size", [(10, 12), (7, 9), (3, 2)])
def test_nearest_neighbour_takes_the_pixel_under_the_centre(size):
    x = normal(1, 2, 5, 6)
    old, new = evaluate(
        lambda x: (
            mb.resize_nearest_neighbor(x=x, target_size_height=size[0], target_size_width=size[1]),
            mb.resize(
                x=x, shape=size, resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"
            ),
        ),
        x=x,
    )
    expected = onnx_run(
        "Resize",
        [x, None, None, np.array([1, 2, *size], np.int64)],
        mode="nearest",
        coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_ceil",
    )
    assert_close(old, expected, 0)
    assert_close(new, expected, 0)


@checks("resize", against="onnxruntime")
def test_nearest_neighbour_with_aligned_corners():
    x = normal(1, 2, 5, 6)
    found = evaluate(
        lambda x: mb.resize(
            x=x,
            shape=[9, 4],
            resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        x=x,
    )
    expected = onnx_run(
        "Resize",
        [x, None, None, np.array([1, 2, 9, 4], np.int64)],
        mode="nearest",
        coordinate_transformation_mode="align_corners",
        nearest_mode="round_prefer_ceil",
    )
    assert_close(found, expected, 0)


@checks("upsample_nearest_neighbor", against="torch")
@pytest.mark.parametrize("factors", [(2, 3), (1.5, 2.5)])
def test_upsampling_to_the_nearest_neighbour(factors):
    x = normal(1, 2, 4, 6)
    kind = type(factors[0])
    cast = np.float32 if kind is float else np.int32
    found = evaluate(
        lambda x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=cast(factors[0]), scale_factor_width=cast(factors[1])
        ),
        x=x,
    )
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), scale_factor=factors)
    assert_close(found, expected, 0)


@checks("upsample_bilinear", against="torch")
@pytest.mark.parametrize("opset", [IOS15, IOS16])
@pytest.mark.parametrize("factors", [(2.0, 3.0), (2.5, 1.5), (0.5, 0.75)])
@pytest.mark.parametrize("align_corners", [True, False])
def test_bilinear_upsampling(opset, factors, align_corners):
    x = normal(2, 3, 5, 8)
    found = evaluate(
        lambda x: mb.upsample_bilinear(
            x=x,
            scale_factor_height=np.float32(factors[0]),
            scale_factor_width=np.float32(factors[1]),
            align_corners=align_corners,
        ),
        opset,
        x=x,
    )
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(x),
        scale_factor=factors,
        mode="bilinear",
        align_corners=align_corners,
        recompute_scale_factor=True,
    )
    assert_close(found, expected)


@checks("upsample_bilinear", against="onnxruntime")
def test_bilinear_upsampling_without_half_pixel_centres():
    x = normal(1, 2, 4, 5)
    found = evaluate(
        lambda x: mb.upsample_bilinear(
            x=x,
            scale_factor_height=2,
            scale_factor_width=3,
            align_corners=False,
            half_pixel_centers=False,
        ),
        IOS16,
        x=x,
    )
    sizes = np.array([1, 2, 8, 15], np.int64)
    expected = onnx_run(
        "Resize",
        [x, None, None, sizes],
        mode="linear",
        coordinate_transformation_mode="asymmetric",
    )
    assert_close(found, expected)


@checks("crop", against="documentation")
def test_crop():
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    found = evaluate(lambda x: mb.crop(x=x, crop_height=[0, 1], crop_width=[1, 1]), x=x)
    assert found.tolist() == [[[[2, 3], [6, 7], [10, 11]]]]
