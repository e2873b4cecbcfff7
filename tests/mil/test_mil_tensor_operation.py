"""Making, joining, sorting and padding tensors against numpy and documented examples."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS16, IOS17, assert_close, checks, evaluate, normal

from coreml_assay.mil.errors import EvaluationError


@checks("band_part", against="numpy")
@pytest.mark.parametrize(("lower", "upper"), [(0, -1), (-1, 0), (0, 0), (1, 2), (-1, -1)])
def test_band_part(lower, upper):
    x = normal(2, 4, 5)
    m, n = np.indices((4, 5))
    band = ((lower < 0) | (m - n <= lower)) & ((upper < 0) | (n - m <= upper))
    found = evaluate(lambda x: mb.band_part(x=x, lower=lower, upper=upper), x=x)
    assert_close(found, band * x, 0)


@checks("cumsum", against="arithmetic")
@pytest.mark.parametrize(
    ("exclusive", "reverse", "expected"),
    [
        (False, False, [1, 3, 6, 10]),
        (True, False, [0, 1, 3, 6]),
        (False, True, [10, 9, 7, 4]),
        (True, True, [9, 7, 4, 0]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_cumsum(exclusive, reverse, expected, dtype):
    x = np.array([[1, 2, 3, 4]], dtype)
    found = evaluate(lambda x: mb.cumsum(x=x, axis=1, exclusive=exclusive, reverse=reverse), x=x)
    assert found.tolist() == [expected]


@checks("fill", "fill_like", "shape", against="numpy")
def test_fill():
    shape, like = np.array([2, 3], np.int32), normal(4, 1)
    full, same, lengths = evaluate(
        lambda shape, like: (
            mb.fill(shape=shape, value=np.float32(1.5)),
            mb.fill_like(ref_tensor=like, value=np.int32(7)),
            mb.shape(x=like),
        ),
        flexible={"like": (None, 1)},
        shape=shape,
        like=like,
    )
    assert_close(full, np.full((2, 3), 1.5), 0)
    assert_close(same, np.full((4, 1), 7), 0)
    assert (same.dtype, lengths.dtype) == (np.int32, np.int32)
    assert lengths.tolist() == [4, 1]


@checks("non_zero", against="numpy")
def test_non_zero():
    x = np.array([[3, 0, 0], [0, 4, 0], [5, 6, 0]], np.float32)
    assert evaluate(lambda x: mb.non_zero(x=x), x=x).tolist() == np.argwhere(x).tolist()


@checks("one_hot", against="numpy")
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis):
    indices = np.array([[0, 2], [1, 5]], np.int32)
    found = evaluate(
        lambda indices: mb.one_hot(
            indices=indices, one_hot_vector_size=4, axis=axis, on_value=2, off_value=-1
        ),
        indices=indices,
    )
    expected = np.where(indices[..., None] == np.arange(4), 2, -1)
    assert found.dtype == np.int32
    assert_close(found, np.moveaxis(expected, -1, axis), 0)


@checks("pad", against="numpy")
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize("pad", [[1, 2], [0, 0, 2, 1], [1, 0, 0, 3, 2, 2]])
@pytest.mark.parametrize("rank", [3, 5])
def test_pad(mode, pad, rank):
    x = normal(*(2, 3, 4, 4, 4)[:rank])
    if mode == "reflect" and len(pad) == 6:
        pad = [1, 0, 0, 2, 2, 2]
    found = evaluate(lambda x: mb.pad(x=x, pad=pad, mode=mode, constant_val=np.float32(-1.5)), x=x)
    pairs = [(0, 0)] * (rank - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))
    more = {"constant_values": -1.5} if mode == "constant" else {}
    expected = np.pad(x, pairs, mode={"replicate": "edge"}.get(mode, mode), **more)
    assert_close(found, expected, 0)


@checks("pad", against="numpy")
def test_pad_by_amounts_known_at_run_time():
    x, pad = normal(2, 3), np.array([1, 0, 0, 2], np.int32)
    found = evaluate(lambda x, pad: mb.pad(x=x, pad=pad), x=x, pad=pad)
    assert_close(found, np.pad(x, [(1, 0), (0, 2)]), 0)


@pytest.mark.parametrize("pad", [[3, 0], [0, 3]])
def test_reflection_has_nothing_to_show_beyond_the_other_end(pad):
    x, amounts = normal(3), np.array(pad, np.int32)
    with pytest.raises(EvaluationError, match="reflection can add at most 2 elements to 3"):
        evaluate(lambda x, pad: mb.pad(x=x, pad=pad, mode="reflect"), x=x, pad=amounts)


@checks("range_1d", against="numpy")
@pytest.mark.parametrize(
    ("start", "end", "step"), [(1, 7, 2), (5, 0, -2), (0.5, 2.0, 0.25), (3, 3, 1)]
)
def test_range(start, end, step):
    dtype = np.float32 if isinstance(start, float) else np.int32
    found = evaluate(
        lambda end: mb.range_1d(start=dtype(start), end=mb.squeeze(x=end), step=dtype(step)),
        end=np.array([end], dtype),
    )
    assert_close(found, np.arange(start, end, step), 0)


@checks("tile", "identity", "stack", against="numpy")
def test_tile_identity_and_stack():
    x, y = normal(2, 3), normal(2, 3, seed=1)
    reps = np.array([2, 3], np.int32)
    tiled, same, stacked = evaluate(
        lambda x, y, reps: (
            mb.tile(x=x, reps=reps),
            mb.identity(x=y),
            mb.stack(values=(x, y), axis=-1),
        ),
        x=x,
        y=y,
        reps=reps,
    )
    assert_close(tiled, np.tile(x, reps), 0)
    assert_close(same, y, 0)
    assert_close(stacked, np.stack([x, y], -1), 0)


@checks("argsort", against="numpy")
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("axis", [0, -1])
def test_argsort(ascending, axis):
    x = normal(4, 5)
    found = evaluate(lambda x: mb.argsort(x=x, axis=axis, ascending=ascending), x=x)
    assert_close(found, np.argsort(x if ascending else -x, axis, kind="stable"), 0)


@checks("topk", against="numpy")
@pytest.mark.parametrize("opset", [IOS15, IOS16, IOS17])
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("axis", [0, -1])
def test_topk(opset, ascending, axis):
    x = normal(4, 5)
    values, indices = evaluate(
        lambda x: mb.topk(x=x, k=3, axis=axis, ascending=ascending), opset, x=x
    )
    order = np.argsort(x if ascending else -x, axis, kind="stable").take(range(3), axis)
    assert_close(values, np.take_along_axis(x, order, axis), 0)
    assert_close(indices, order, 0)
    assert indices.dtype == np.int32


@checks("topk", against="numpy")
def test_topk_of_everything_without_indices():
    x = normal(3, 4)
    found = evaluate(lambda x: mb.topk(x=x, k=-1, axis=1, return_indices=False), x=x)
    assert_close(found, -np.sort(-x, 1), 0)


@checks("flatten2d", against="documentation")
@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [
        ((3,), -1, (1, 3)),
        ((3,), 1, (3, 1)),
        ((4, 3), -1, (4, 3)),
        ((2, 3, 2), -1, (6, 2)),
        ((5, 5, 2), 1, (5, 10)),
    ],
)
def test_flatten2d(shape, axis, expected):
    x = normal(*shape)
    found = evaluate(lambda x: mb.flatten2d(x=x, axis=axis), IOS15, x=x)
    assert_close(found, x.reshape(expected), 0)


@checks("concat", against="documentation")
def test_concat_with_and_without_taking_turns():
    one = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    two = np.array([[7, 8], [9, 10], [11, 12]], np.float32)
    plain, turns = evaluate(
        lambda one, two: (
            mb.concat(values=(one, two), axis=0),
            mb.concat(values=(one, two), axis=0, interleave=True),
        ),
        one=one,
        two=two,
    )
    assert plain.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]
    assert turns.tolist() == [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]


@checks("concat", against="numpy")
def test_concat_joins_constants_and_flexible_inputs():
    x, constant = normal(2, 3), np.ones((2, 1), np.float32)
    found = evaluate(
        lambda x: mb.concat(values=(constant, x), axis=-1), flexible={"x": (2, None)}, x=x
    )
    assert_close(found, np.concatenate([constant, x], -1), 0)


@checks("split", against="numpy")
@pytest.mark.parametrize("sizes", [None, [1, 3, 2]])
def test_split(sizes):
    x = normal(2, 6)
    found = evaluate(lambda x: mb.split(x=x, num_splits=3, split_sizes=sizes, axis=1), x=x)
    expected = np.split(x, 3 if sizes is None else np.cumsum(sizes)[:-1], 1)
    for part, wanted in zip(found, expected, strict=True):
        assert_close(part, wanted, 0)
