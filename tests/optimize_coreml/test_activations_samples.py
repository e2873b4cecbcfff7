"""Samples in the forms that users have them: arrays, tensors, images, generators; and progress."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from activation_helpers import conv, data, described, ignore_noise, plain, program, quantize, scales
from coremltools.converters.mil.mil import Builder as mb
from PIL import Image
from rich.console import Console

from coreml_assay.mil.activation_programs import of_images
from coreml_assay.mil.activation_samples import pixels
from coreml_assay.mil.images import image_inputs
from coreml_assay.optimize.coreml import calibration

pytestmark = [pytest.mark.filterwarnings(item) for item in ignore_noise]


@pytest.mark.parametrize("made", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_the_only_inputs_arrays_may_stand_by_themselves(made):
    expected = described(quantize(plain(), data(2, 1)))
    assert described(quantize(plain(), [made(sample["x"]) for sample in data(2, 1)])) == expected


def test_an_array_by_itself_does_not_do_for_two_inputs():
    two = program(lambda x, y: mb.add(x=x, y=y, name="sum"), [(1, 3, 8, 8)] * 2)
    with pytest.raises(ValueError, match="sample 0: When the model has multiple inputs"):
        quantize(two, [data(1)[0]["x"]])


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_an_image_is_the_array_of_its_channels_in_the_models_order(layout):
    model, image = of_images(layout), Image.fromarray(pixels())
    order = [0, 1, 2] if layout == "RGB" else [2, 1, 0]
    array = pixels()[:, :, order].transpose(2, 0, 1)[None].astype(np.float32)
    np.testing.assert_array_equal(image_inputs(model)["x"].array(image), array)
    expected = described(quantize(model, [{"x": array}]))
    assert described(quantize(model, [{"x": image}])) == expected
    assert described(quantize(model, [image])) == expected


@pytest.mark.parametrize(
    ("layout", "image", "message"),
    [
        ("RGB", Image.new("L", (8, 8)), "sample 0: input 'x' takes RGB images, of Pillow's mode"),
        ("GRAYSCALE", Image.new("RGB", (8, 8)), r"image.convert\('L'\) makes one"),
        ("RGB", Image.new("RGB", (9, 8)), r"has shape \(1, 3, 8, 8\), got \(1, 3, 8, 9\)"),
    ],
    ids=["mode", "grayscale", "size"],
)
def test_an_image_that_does_not_fit_is_refused(layout, image, message):
    with pytest.raises(ValueError, match=message):
        quantize(of_images(layout), [{"x": image}])


def test_an_image_for_an_input_of_numbers_is_refused():
    with pytest.raises(ValueError, match="takes floating-point numbers"):
        quantize(plain(), [{"x": Image.fromarray(pixels())}])


def test_only_images_are_image_inputs():
    assert image_inputs(program(lambda x: conv(x, "a"))) == {}


def test_progress_is_shown_in_a_terminal_without_taking_samples_ahead(monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=80)
    monkeypatch.setattr(calibration, "Console", lambda **_: terminal)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    taken = itertools.count()
    samples = calibration._shown(sample for sample in data(1, 2, 3) if next(taken) >= 0)
    assert next(iter(samples))["x"].max() <= 1
    assert next(taken) == 1
    assert scales(quantize(plain(), data(1, 2))) == scales(quantize(plain(), data(2)))
    assert "calibrating" in shown.getvalue()


@pytest.mark.parametrize(("is_terminal", "variable"), [(False, "0"), (True, "1")])
def test_progress_is_not_shown_in_a_log_nor_where_it_is_silenced(
    monkeypatch, is_terminal, variable
):
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    monkeypatch.setattr(calibration, "Console", lambda **_: console)
    monkeypatch.setenv("TQDM_DISABLE", variable)
    samples = data(1)
    assert calibration._shown(samples) is samples
