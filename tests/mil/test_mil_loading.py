"""Programs are rebuilt with no more in memory than their weights."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from coremltools.converters.mil.frontend.milproto import load as milproto
from coremltools.converters.mil.mil import Builder as mb
from coremltools.libmilstoragepython import _BlobStorageWriter

from coreml_assay.mil.loading import WeightFile
from coreml_assay.mil.program import load_program, replace_operation
from coreml_assay.mil.samples import single
from coreml_assay.mil.stored import stored_weights

W = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
WRITTEN = {
    "fp16": W.astype(np.float16).view(np.uint16),
    "float": W,
    "uint8": W.view(np.uint8),
    "int8": W.view(np.int8),
    "int32": W.view(np.int32),  # left to coremltools
    "uint16": W.view(np.uint16),
}


def refuse(path):
    raise AssertionError(f"{path} is read whole")


@pytest.fixture
def weights(tmp_path):
    """A weight file with an array of each kind: its path, and kind to offset."""
    path = tmp_path / "weight.bin"
    writer = _BlobStorageWriter(str(path))
    return path, {
        kind: getattr(writer, f"write_{kind}_data")(np.ravel(values))
        for kind, values in WRITTEN.items()
    }


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_kind_of_array_is_read_as_coremltools_reads_it(weights, kind):
    path, offsets = weights
    name = f"read_{kind}_data"
    expected = np.asarray(getattr(milproto.BlobReader(str(path)), name)(offsets[kind]))
    found = getattr(WeightFile(path), name)(offsets[kind])
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes() == WRITTEN[kind].tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_weights_are_read_without_the_reader_that_holds_the_whole_file(monkeypatch, dtype):
    model = single(W.astype(dtype))
    monkeypatch.setattr(milproto, "BlobReader", refuse)
    values = stored_weights(load_program(model))["w"].values
    assert values.tobytes() == W.astype(dtype).tobytes()


def test_an_array_of_another_kind_is_refused(weights):
    path, offsets = weights
    with pytest.raises(ValueError, match=r"^weight\.bin holds no array of type 1 at \d+$"):
        WeightFile(path).read_fp16_data(offsets["float"])


def test_a_replaced_weight_leaves_memory_at_once():
    block = load_program(single(W)).functions["main"]
    (constant,) = (op for op in block.find_ops(op_type="const") if op.name == "w")
    weight = weakref.ref(constant.outputs[0].val)
    gc.disable()
    try:
        with block:
            replace_operation(constant, [mb.const(val=W, name="v", before_op=constant)])
        del constant
        assert weight() is None
    finally:
        gc.enable()
