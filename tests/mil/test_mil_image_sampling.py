"""Crops of images and samples at coordinates against torch and known numbers."""

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
)

from coreml_assay.mil.errors import EvaluationError
from coreml_assay.mil.ops import OPERATIONS

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
@pytest.mark.parametrize("opset", [IOS15, IOS16, IOS17])
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
