"""Resizing and resampling against ONNX Runtime, torch and documented grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from mil_helpers import (
    IOS15,
    IOS16,
    IOS17,
    assert_close,
    checks,
    evaluate,
    normal,
    onnx_run,
)

from coreml_assay.mil.errors import EvaluationError
from coreml_assay.mil.ops import OPERATIONS

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


IMAGE = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
# The numbers are those of coremltools' tests of the operation on Core ML.
CROPS = [
    ([1, 1, 2, 2], 2, [6, 7, 10, 11]),
    (
        [1, 1, 2, 2],
        4,
        [row + column for row in (6, 22 / 3, 26 / 3, 10) for column in (0, 1 / 3, 2 / 3, 1)],
    ),
    ([1, 1, 2, 2], 1, [8.5]),
    ([2, 2, 1, 1], 2, [11, 10, 7, 6]),
]


@checks("crop_resize", against="arithmetic")
@pytest.mark.parametrize(("box", "size", "expected"), CROPS)
@pytest.mark.parametrize("opset", [IOS15, IOS16, IOS17])
def test_crop_resize_samples_between_the_corners(box, size, expected, opset):
    boxes = np.array([box], np.float32)
    where = {"boxes": boxes} if opset is IOS17 else {"roi": boxes.reshape(1, 1, 4, 1, 1)}
    found = evaluate(
        lambda x: mb.crop_resize(
            x=x,
            target_height=size,
            target_width=size,
            sampling_mode="ALIGN_CORNERS",
            **where,
        ),
        opset,
        x=IMAGE,
    )
    assert_close(found.ravel(), expected)
    assert found.ndim == (4 if opset is IOS17 else 5)


@checks("crop_resize", against="numpy")
@pytest.mark.parametrize("mode", ["CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST"])
def test_crop_resize_understands_other_boxes_and_images(mode):
    x = normal(2, 3, 5, 6)
    boxes = {
        "CORNERS_WIDTH_FIRST": [[1, 0, 3, 2], [2, 1, 4, 3]],
        "CENTER_SIZE_HEIGHT_FIRST": [[1, 2, 2, 2], [2, 3, 2, 2]],
    }[mode]
    found = evaluate(
        lambda x: mb.crop_resize(
            x=x,
            boxes=np.array(boxes, np.float32),
            box_indices=np.array([1, 0], np.int32),
            target_height=3,
            target_width=3,
            box_coordinate_mode=mode,
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        x=x,
    )
    assert_close(found, np.stack([x[1, :, 0:3, 1:4], x[0, :, 1:4, 2:5]]))


@checks("crop_resize", against="numpy")
def test_crop_resize_of_every_image_or_of_one():
    x = normal(2, 3, 4, 4)
    box = [1.0, 0.0, 2.0, 1.0]
    where = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}
    every = evaluate(
        lambda x: mb.crop_resize(
            x=x, roi=np.array(box, np.float32).reshape(1, 1, 4, 1, 1), **where
        ),
        IOS16,
        x=x,
    )
    assert_close(every, x[None, :, :, 1:3, 0:2])
    # Called by itself because coremltools announces [N, B, ...] where [N, 1, ...] is documented.
    roi = torch.tensor([1.0, *box]).reshape(1, 1, 5, 1, 1)
    one = OPERATIONS["crop_resize"](x=torch.from_numpy(x), roi=roi, **where)
    assert_close(one, x[None, 1:, :, 1:3, 0:2])


@checks("crop_resize", against="arithmetic")
def test_crop_resize_of_the_whole_image_is_the_image():
    found = evaluate(
        lambda x: mb.crop_resize(
            x=x,
            boxes=np.array([[0, 0, 3, 3]], np.float32),
            target_height=4,
            target_width=4,
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        x=IMAGE,
    )
    assert_close(found, IMAGE)


@checks("crop_resize", against="arithmetic")
def test_crop_resize_pads_outside_the_image():
    found = evaluate(
        lambda x: mb.crop_resize(
            x=x,
            boxes=np.array([[-1, 0, 0, 1]], np.float32),
            target_height=2,
            target_width=2,
            sampling_mode="ALIGN_CORNERS",
            pad_value=np.float32(-7.0),
        ),
        x=IMAGE,
    )
    assert found.tolist() == [[[[-7, -7], [1, 2]]]]


@checks("crop_resize", against="arithmetic")
def test_crop_resize_scales_normalized_boxes():
    found = evaluate(
        lambda x: mb.crop_resize(
            x=x,
            boxes=np.array([[1 / 3, 1 / 3, 1, 1]], np.float32),
            target_height=2,
            target_width=2,
            normalized_coordinates=True,
            spatial_scale=np.float32(0.5),
            sampling_mode="ALIGN_CORNERS",
        ),
        x=IMAGE,
    )
    assert_close(found.ravel(), [3.5, 4.5, 7.5, 8.5])


TORCH_PADDING = {"constant": "zeros", "border": "border", "reflection": "reflection"}


@checks("resample", against="torch")
@pytest.mark.parametrize("padding_mode", TORCH_PADDING)
@pytest.mark.parametrize("sampling_mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_resample(padding_mode, sampling_mode, align_corners, opset):
    if padding_mode == "reflection" and not align_corners:
        padding_mode = "symmetric"  # torch reflects about the edges then
    x, places = normal(2, 3, 5, 6), normal(2, 4, 3, 2, seed=1)
    found = evaluate(
        lambda x, places: mb.resample(
            x=x,
            coordinates=places,
            sampling_mode=sampling_mode,
            padding_mode=padding_mode,
            padding_value=np.float32(0.0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=align_corners,
        ),
        opset,
        x=x,
        places=places,
    )
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(x),
        torch.from_numpy(places),
        mode=sampling_mode,
        padding_mode=TORCH_PADDING.get(padding_mode, "reflection"),
        align_corners=align_corners,
    )
    assert_close(found, expected, 2e-6)


@checks("resample", against="documentation")
@pytest.mark.parametrize(
    ("padding_mode", "expected"),
    [
        ("constant", [0, 0, 0, 1, 2, 3, 0, 0, 0]),
        ("border", [1, 1, 1, 1, 2, 3, 3, 3, 3]),
        ("reflection", [2, 3, 2, 1, 2, 3, 2, 1, 2]),
        ("symmetric", [3, 2, 1, 1, 2, 3, 3, 2, 1]),
    ],
)
@pytest.mark.parametrize("coordinates_mode", ["unnormalized", "normalized_zero_to_one"])
def test_resample_pads_as_documented(padding_mode, expected, coordinates_mode):
    x = np.array([[[[1, 2, 3]]]], np.float32)
    columns = np.arange(-3, 6, dtype=np.float32)
    if coordinates_mode == "normalized_zero_to_one":
        columns = columns / 2
    places = np.stack([columns, np.zeros(9, np.float32)], -1)[None, None]
    found = evaluate(
        lambda x, places: mb.resample(
            x=x,
            coordinates=places,
            sampling_mode="nearest",
            padding_mode=padding_mode,
            padding_value=np.float32(0.0),
            coordinates_mode=coordinates_mode,
            align_corners=True,
        ),
        x=x,
        places=places,
    )
    assert found.ravel().tolist() == expected


@checks("affine", against="torch")
@pytest.mark.parametrize("matrices", [1, 2])
def test_affine(matrices):
    x, transform = normal(2, 3, 5, 6), normal(matrices, 6, seed=1) * 0.7
    found = evaluate(
        lambda x, transform: mb.affine(
            x=x,
            transform_matrix=transform,
            output_height=4,
            output_width=7,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=np.float32(0.0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        IOS15,
        x=x,
        transform=transform,
    )
    theta = torch.from_numpy(transform).reshape(-1, 2, 3).expand(2, -1, -1)
    grid = torch.nn.functional.affine_grid(theta, [2, 3, 4, 7], align_corners=True)
    expected = torch.nn.functional.grid_sample(torch.from_numpy(x), grid, align_corners=True)
    assert_close(found, expected, 3e-6)


def test_modes_that_are_not_documented_are_refused():
    with pytest.raises(EvaluationError, match="only aligned coordinates"):
        evaluate(
            lambda x, transform: mb.affine(
                x=x,
                transform_matrix=transform,
                output_height=4,
                output_width=7,
                sampling_mode="bilinear",
                padding_mode="constant",
                padding_value=np.float32(0.0),
                coordinates_mode="normalized_minus_one_to_one",
                align_corners=False,
            ),
            x=normal(1, 1, 2, 2),
            transform=normal(1, 6),
        )


@checks("crop", against="documentation")
def test_crop():
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    found = evaluate(lambda x: mb.crop(x=x, crop_height=[0, 1], crop_width=[1, 1]), x=x)
    assert found.tolist() == [[[[2, 3], [6, 7], [10, 11]]]]
