"""Pillow images as inputs of a model: which inputs take them, and the arrays its program sees.

Scaling and bias belong to the program, so values are those of the image, 0 to 255 for 8 bits.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs
import coremltools as ct
import numpy as np

from coreml_assay.mil.program import Model
from coreml_assay.numerics.blocks import Array

_SPACES = ct.proto.FeatureTypes_pb2.ImageFeatureType
_MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}


@attrs.frozen
class ImageInput:
    """An input that the model's description calls an image.

    Attributes:
        name: of the input.
        layout: RGB, BGR, GRAYSCALE or GRAYSCALE_FLOAT16.
    """

    name: str
    layout: str

    def array(self, image: Any) -> Array:
        """The float32 array of shape (1, channels, height, width) that an image stands for.

        Raises:
            ValueError: the image has another mode than the input takes.
        """
        mode = _MODES[self.layout]
        if image.mode != mode:
            raise ValueError(
                f"input {self.name!r} takes {self.layout} images, of Pillow's mode {mode!r}, "
                f"got mode {image.mode!r}; image.convert({mode!r}) makes one"
            )
        values = np.asarray(image, np.float32)
        if values.ndim == 2:
            return values[None, None]
        channels = values.transpose(2, 0, 1)
        return np.ascontiguousarray(channels[::-1] if self.layout == "BGR" else channels)[None]


def is_image(value: object) -> bool:
    """Whether a value is a Pillow image; Pillow need not be installed."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def image_inputs(model: Model) -> dict[str, ImageInput]:
    """The inputs of a model that take images, by name."""
    found = {}
    for feature in model.get_spec().description.input:
        if feature.type.WhichOneof("Type") == "imageType":
            layout = _SPACES.ColorSpace.Name(feature.type.imageType.colorSpace)
            if layout in _MODES:
                found[feature.name] = ImageInput(feature.name, layout)
    return found
