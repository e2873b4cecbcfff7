"""Rearrangements against numpy, ONNX Runtime and documented examples."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import (
    IOS15,
    IOS16,
    IOS17,
    IOS18,
    assert_close,
    checks,
    evaluate,
    normal,
    onnx_run,
)


@checks("depth_to_space", "space_to_depth", "pixel_shuffle", against="onnxruntime")
def test_blocks_between_depth_and_space():
    x, image = normal(2, 12, 3, 4), normal(2, 3, 4, 6, seed=1)
    space, shuffled, depth = evaluate(
        lambda x, image: (
            mb.depth_to_space(x=x, block_size=2),
            mb.pixel_shuffle(x=x, upscale_factor=2),
            mb.space_to_depth(x=image, block_size=2),
        ),
        x=x,
        image=image,
    )
    assert_close(space, onnx_run("DepthToSpace", [x], blocksize=2, mode="DCR"), 0)
    assert_close(shuffled, onnx_run("DepthToSpace", [x], blocksize=2, mode="CRD"), 0)
    assert_close(depth, onnx_run("SpaceToDepth", [image], blocksize=2), 0)


@checks("pixel_unshuffle", against="onnxruntime")
def test_pixel_unshuffle_undoes_the_shuffle():
    x = normal(2, 12, 3, 4)
    shuffled = onnx_run("DepthToSpace", [x], blocksize=2, mode="CRD")
    factor = np.uint32(2)
    found = evaluate(lambda x: mb.pixel_unshuffle(x=x, downscale_factor=factor), IOS16, x=shuffled)
    assert_close(found, x, 0)


@checks("space_to_batch", "batch_to_space", against="numpy")
def test_blocks_between_space_and_batch():
    # The batch of block offset (i, j) holds every second row from i and third column from j.
    x = normal(2, 3, 3, 5)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 1)])
    expected = np.concatenate([padded[:, :, i::2, j::3] for i in range(2) for j in range(3)])
    batch = evaluate(
        lambda x: mb.space_to_batch(x=x, block_shape=[2, 3], paddings=[[1, 0], [0, 1]]), x=x
    )
    assert_close(batch, expected, 0)
    space = evaluate(
        lambda x: mb.batch_to_space(x=x, block_shape=[2, 3], crops=[[1, 0], [0, 1]]), x=batch
    )
    assert_close(space, x, 0)


@checks("expand_dims", "squeeze", "transpose", against="numpy")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_dimensions_come_go_and_change_places(opset):
    x = normal(2, 1, 3, 1)
    wide, narrow, one, turned = evaluate(
        lambda x: (
            mb.expand_dims(x=x, axes=[0, -1, 3]),
            mb.squeeze(x=x),
            mb.squeeze(x=x, axes=[-1]),
            mb.transpose(x=x, perm=[-1, 0, 2, 1]),
        ),
        opset,
        x=x,
    )
    assert_close(wide, np.expand_dims(x, (0, -1, 3)), 0)
    assert_close(narrow, x.reshape(2, 3), 0)
    assert_close(one, x[..., 0], 0)
    assert_close(turned, x.transpose(3, 0, 2, 1), 0)


@checks("squeeze", against="documentation")
def test_squeeze_ignores_longer_dimensions():
    x = normal(2, 3, 4)
    assert_close(evaluate(lambda x: mb.squeeze(x=x, axes=[0, 1]), x=x), x, 0)


@checks("reshape", against="documentation")
@pytest.mark.parametrize(
    ("opset", "shape", "target", "expected"),
    [
        (IOS15, (2, 3, 4), [0, -1, 2], (2, 6, 2)),
        (IOS15, (2, 3, 4), [4, 6], (4, 6)),
        (IOS17, (2, 50), [1, 0, -1, 0], (1, 1, 2, 50)),
        (IOS17, (2, 3, 4), [-1, 0], (6, 4)),
    ],
)
def test_reshape_keeps_and_infers_lengths(opset, shape, target, expected):
    x = normal(*shape)
    constant = evaluate(lambda x: mb.reshape(x=x, shape=target), opset, x=x)
    assert_close(constant, x.reshape(expected), 0)
    dynamic = evaluate(
        lambda x, shape: mb.reshape(x=x, shape=shape),
        opset,
        x=x,
        shape=np.array(target, np.int32),
    )
    assert_close(dynamic, x.reshape(expected), 0)


@checks("reshape_like", against="documentation")
@pytest.mark.parametrize("opset", [IOS16, IOS17])
def test_reshape_like(opset):
    x, a, b = normal(4, 45), normal(2, 3, 4), normal(1, 5, 6)
    found = evaluate(
        lambda x, a, b: mb.reshape_like(
            x=x, ref_tensors=(a, b), begins=(0, 1), ends=(2, 0), end_masks=(False, True)
        ),
        opset,
        x=x,
        a=a,
        b=b,
    )
    assert_close(found, x.reshape(2, 3, 5, 6), 0)


@checks("reverse", against="numpy")
@pytest.mark.parametrize("axes", [None, [0], [-1, 1]])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_reverse(axes, opset):
    x = normal(2, 3, 4)
    found = evaluate(lambda x: mb.reverse(x=x, axes=axes), opset, x=x)
    assert_close(found, np.flip(x, axes), 0)


@checks("reverse_sequence", against="onnxruntime")
@pytest.mark.parametrize(("seq_axis", "batch_axis"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_reverse_sequence(seq_axis, batch_axis, opset):
    x, lengths = normal(4, 4, 2), np.array([0, 1, 3, 4], np.int32)
    found = evaluate(
        lambda x, lengths: mb.reverse_sequence(
            x=x, lengths=lengths, seq_axis=seq_axis, batch_axis=batch_axis
        ),
        opset,
        x=x,
        lengths=lengths,
    )
    expected = onnx_run(
        "ReverseSequence",
        [x, np.maximum(lengths, 1).astype(np.int64)],
        time_axis=seq_axis,
        batch_axis=batch_axis,
    )
    assert_close(found, expected, 0)


SLICES = [
    ({"begin": [1, 0, 2], "end": [2, 3, 4]}, np.s_[1:2, 0:3, 2:4]),
    ({"begin": [0, -3, -1], "end": [2, -1, 0], "stride": [1, 1, -2]}, np.s_[0:2, -3:-1, -1:0:-2]),
    (
        {
            "begin": [9, 2, 3],
            "end": [9, 9, 9],
            "stride": [1, -1, -1],
            "begin_mask": [True, True, False],
            "end_mask": [True, True, True],
        },
        np.s_[:, ::-1, 3::-1],
    ),
    (
        {
            "begin": [-1, 0, 1],
            "end": [0, 0, 5],
            "end_mask": [False, True, False],
            "squeeze_mask": [True, False, False],
        },
        np.s_[-1, 0:, 1:5],
    ),
]


@checks("slice_by_index", against="numpy")
@pytest.mark.parametrize(("arguments", "index"), SLICES)
@pytest.mark.parametrize("flexible", [None, {"x": (None, None, 6)}])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_slice_by_index(arguments, index, flexible, opset):
    x = normal(3, 4, 6)
    found = evaluate(lambda x: mb.slice_by_index(x=x, **arguments), opset, flexible, x=x)
    assert_close(found, x[index], 0)


@checks("slice_by_index", against="numpy")
def test_slice_by_indices_known_at_run_time():
    x, begin, end = normal(3, 4), np.array([1, 0], np.int32), np.array([3, 2], np.int32)
    found = evaluate(
        lambda x, begin, end: mb.slice_by_index(x=x, begin=begin, end=end),
        x=x,
        begin=begin,
        end=end,
    )
    assert_close(found, x[1:3, 0:2], 0)


@checks("slice_update", against="numpy")
@pytest.mark.parametrize(("arguments", "index"), SLICES)
def test_slice_update(arguments, index):
    x = normal(3, 4, 6)
    update = normal(*x[index].shape, seed=1)
    found = evaluate(
        lambda x, update: mb.slice_update(x=x, update=update, **arguments),
        IOS18,
        x=x,
        update=update,
    )
    expected = x.copy()
    expected[index] = update
    assert_close(found, expected, 0)


@checks("slice_by_size", against="numpy")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_slice_by_size(opset):
    x = normal(3, 4)
    found = evaluate(lambda x: mb.slice_by_size(x=x, begin=[1, 1], size=[-1, 2]), opset, x=x)
    assert_close(found, x[1:, 1:3], 0)


@checks("sliding_windows", against="numpy")
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_sliding_windows(axis, stride, opset):
    x = normal(5, 6, 7)
    found = evaluate(
        lambda x: mb.sliding_windows(x=x, axis=axis, size=3, stride=stride), opset, x=x
    )
    starts = range(0, x.shape[axis] - 2, stride)
    windows = [x.take(range(s, s + 3), axis) for s in starts]
    assert_close(found, np.stack(windows, axis if axis >= 0 else axis - 1), 0)
