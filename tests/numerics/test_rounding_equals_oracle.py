"""The fast form against the oracle run in the weight's dtype: the same bits, however it is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coreml_assay.conformance.strategies import GRIDS, ordinary_floats
from coreml_assay.numerics import (
    Grid,
    QuantizedWeight,
    choose_qparams,
    compiled,
    native,
    quantize,
    round_to_nearest,
    rounding,
)
from coreml_assay.numerics import sliced as module

PATHS = ("0", *native.available())  # PyTorch, and the kernels of every instruction set here


@st.composite
def cases(draw):
    """A weight of rank 1 to 5, sometimes with leading axes of length 1, in blocks."""
    rank = draw(st.integers(1, 5))
    ones = draw(st.integers(0, rank - 1))
    counts = [1] * ones + draw(
        st.lists(st.integers(1, 3), min_size=rank - ones, max_size=rank - ones)
    )
    sizes = [1] * ones + draw(
        st.lists(st.integers(1, 3), min_size=rank - ones, max_size=rank - ones)
    )
    shape = tuple(math.prod(pair) for pair in zip(counts, sizes, strict=True))
    block_shape = tuple(size if draw(st.booleans()) else 0 for size in sizes)
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    weight = draw(hnp.arrays(dtype, shape, elements=ordinary_floats(dtype)))
    return weight, block_shape


@settings(max_examples=3 * settings.default.max_examples)
@pytest.mark.parametrize("path", PATHS)
@given(
    case=cases(),
    grid=st.sampled_from(GRIDS),
    slice_bytes=st.sampled_from([1, 7, 64, 1 << 20]),
    threads=st.sampled_from([1, 3]),
)
@example(
    case=(np.ones((1, 1, 6, 2), np.float16), (0, 0, 3, 0)),
    grid=GRIDS[0],
    slice_bytes=1,
    threads=1,
)
@example(
    case=(np.array([127, 0.5, 1.5, -0.5, -1.5], np.float16), (0,)),
    grid=Grid(8, True, True),
    slice_bytes=4,
    threads=1,
)  # ties
@example(
    case=(np.array([6, -9, 0.5, 1.5, -2.5], np.float32), (0,)),
    grid=Grid(4, True, False),
    slice_bytes=4,
    threads=1,
)
@example(
    case=(np.zeros((2, 2), np.float32), (1, 0)),
    grid=Grid(8, signed=False, symmetric=True),
    slice_bytes=1,
    threads=1,
)
def test_equals_the_oracle_in_the_weights_dtype_bit_for_bit(path, case, grid, slice_bytes, threads):
    weight, block_shape = case
    before = weight.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SLICE_BYTES", slice_bytes)
        patch.setattr(compiled, "_WORTH_A_THREAD", 1)
        patch.setattr(compiled, "get_num_threads", lambda: threads)
        patch.setenv(native.VARIABLE, path)
        found = round_to_nearest(weight, grid, block_shape)
    expected = choose_qparams(weight, grid, block_shape, weight.dtype)
    assert_same_bits(found.codes, quantize(weight, expected, grid))
    assert_same_bits(found.scale, expected.scale)
    if expected.zero_point is None:
        assert found.zero_point is None
    else:
        assert_same_bits(found.zero_point, expected.zero_point)
    assert_same_bits(weight, before)


def assert_same_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("layout", ["transposed", "reversed", "strided", "field", "read-only"])
def test_the_memory_layout_does_not_matter(monkeypatch, layout, path):
    monkeypatch.setenv(native.VARIABLE, path)
    weight = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    same = {
        "transposed": lambda w: np.asfortranarray(w),
        "reversed": lambda w: w[::-1].copy()[::-1],
        "strided": lambda w: np.repeat(w, 2, axis=1)[:, ::2],
        "field": lambda w: field_of_records(w),
        "read-only": lambda w: np.frombuffer(w.tobytes(), w.dtype).reshape(w.shape),
    }[layout](weight)
    expected = round_to_nearest(weight, GRIDS[-1], (1, 4))
    for found, want in zip(round_to_nearest(same, GRIDS[-1], (1, 4)), expected, strict=True):
        assert_same_bits(np.ascontiguousarray(found), want)


def field_of_records(weight):
    """The same numbers, each followed by a byte of something else."""
    records = np.zeros(weight.shape, [("number", weight.dtype), ("other", np.int8)])
    records["number"] = weight
    return records["number"]


@pytest.mark.parametrize(("shape", "slice_bytes"), [((3, 4), 16), ((5,), 1), ((5,), 8)])
def test_a_row_is_in_one_slice_only(monkeypatch, shape, slice_bytes):
    monkeypatch.setattr(module, "_SLICE_BYTES", slice_bytes)
    seen = np.zeros(shape, int)
    for rows, _ in module._slices(shape, (1,) * len(shape), 4):
        seen[rows] += 1
    assert (seen == 1).all()


def test_slices_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(module, "_SLICE_BYTES", 3 * 4 * 4)
    weight = np.zeros((1, 8, 4), np.float32)
    slices = list(module._slices(weight.shape, (1, 4, 1), weight.itemsize))
    seen = np.zeros(weight.shape, int)
    for rows, _ in slices:
        seen[rows] += 1
    assert (seen == 1).all()
    assert [blocks[1].tolist() for _, blocks in slices] == [[0, 0, 1], [1, 2, 2], [3, 3]]


def test_a_row_too_long_for_a_slice_is_cut(monkeypatch):
    monkeypatch.setattr(module, "_SLICE_BYTES", 4 * 4)
    slices = list(module._slices((2, 6), (2, 3), 4))
    assert [rows for rows, _ in slices] == [
        (slice(row, row + 1), columns) for row in (0, 1) for columns in (slice(0, 4), slice(4, 6))
    ]
    assert [blocks[0] for _, blocks in slices] == [slice(0, 1)] * 2 + [slice(1, 2)] * 2
    assert [blocks[1].tolist() for _, blocks in slices] == [[0, 0, 1, 1], [2, 2]] * 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((3, 700), (1, 0)),
        ((6, 2000), (1, 0)),
        ((96, 300), (32, 1)),
        ((9, 2400), (1, 32)),
        ((9, 64), (1, 16)),
        ((9, 64), (3, 8)),
        ((9, 60), (1, 12)),
    ],
)
def test_long_rows_and_many_columns_equal_the_oracle(monkeypatch, path, dtype, shape, blocks):
    monkeypatch.setenv(native.VARIABLE, path)
    weight = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    weight[0] = 0
    weight[1] *= np.finfo(dtype).tiny
    for grid in GRIDS:
        found = round_to_nearest(weight, grid, blocks)
        expected = choose_qparams(weight, grid, blocks, dtype)
        assert_same_bits(found.codes, quantize(weight, expected, grid))
        assert_same_bits(found.scale, expected.scale)


# As many weights as have their codes stored past the caches, some of which end where a store does
# not, or begin where none can.
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("columns", "blocks"),
    [
        *((4096, blocks) for blocks in [(1, 0), (0, 0), (1, 32), (1, 2048)]),
        *[(4099, (1, 0)), (4128, (1, 32)), (4104, (1, 8)), (4110, (1, 15)), (4110, (1, 1370))],
    ],
)
@pytest.mark.parametrize("shift", [0, 3])
def test_large_weights_equal_the_oracle(monkeypatch, path, dtype, columns, blocks, shift):
    monkeypatch.setenv(native.VARIABLE, path)
    monkeypatch.setattr(compiled, "get_num_threads", lambda: 1)  # one thread has to do it all
    rows, grid = (1 << 22) // columns + 1, GRIDS[0]
    weight = np.random.default_rng(3).standard_normal((rows, columns), np.float32).astype(dtype)
    room = np.full(weight.size + 128, 99, grid.dtype)
    out = choose_qparams(weight, grid, blocks, dtype)
    codes = room[shift : shift + weight.size].reshape(weight.shape)
    expected = quantize(weight, out, grid)
    found = round_to_nearest(weight, grid, blocks, QuantizedWeight(codes, out.scale.copy(), None))
    assert_same_bits(found.codes, expected)
    assert_same_bits(found.scale, out.scale)
    assert (room[:shift] == 99).all()
    assert (room[shift + weight.size :] == 99).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_result_is_written_into_what_is_given(monkeypatch, path, grid):
    monkeypatch.setenv(native.VARIABLE, path)
    weight = np.random.default_rng(2).standard_normal((4, 8)).astype(np.float32)
    out = round_to_nearest(-weight, grid, (1, 0))
    found = round_to_nearest(weight, grid, (1, 0), out)
    for part, own, want in zip(found, out, round_to_nearest(weight, grid, (1, 0)), strict=True):
        assert part is own
        assert part is None or (part.tobytes() == want.tobytes() and part.shape == want.shape)
    with pytest.raises(
        ValueError, match=r"^out\.codes must have shape and dtype .*, got .*\(4, 8\)"
    ):
        round_to_nearest(weight[:2], grid, (1, 0), out)
    wrong = np.zeros((4, 2), grid.dtype) if grid.stores_zero_point else np.zeros((4, 1), np.int8)
    with pytest.raises(ValueError, match=r"^out\.zero_point must have "):
        round_to_nearest(weight, grid, (1, 0), out._replace(zero_point=wrong))


# shape, blocks along each axis: n0, b0, n1, b1
NESTED = [
    ((6, 4, 3), (6, 1, 1), (1, 1, 6, 12)),
    ((4, 6), (1, 6), (1, 4, 6, 1)),
    ((4, 6), (2, 3), (2, 2, 3, 2)),
    ((4, 6), (4, 3), (1, 1, 12, 2)),
    ((1, 4, 6), (1, 1, 6), (1, 4, 6, 1)),
    ((4, 6), (1, 1), (1, 1, 1, 24)),
    ((3, 2), (3, 2), (1, 1, 6, 1)),
    ((4, 6, 2), (2, 3, 2), None),
    ((4, 6, 4), (2, 3, 2), None),
    ((1, 1), (1, 1), (1, 1, 1, 1)),
]


@pytest.mark.parametrize(("shape", "counts", "nested"), NESTED)
def test_axes_that_are_cut_alike_melt_into_one(shape, counts, nested):
    assert compiled.nested_blocks(shape, counts) == nested


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("layout", [(5, 2, 3, 4), (1, 1, 6, 4), (1, 3, 2, 1), (2, 1, 1, 8)])
def test_threads_share_every_block_once(layout, threads):
    n0, b0, n1, b1 = layout
    elements = np.arange(n0 * b0 * n1 * b1).reshape(layout)
    blocks = np.arange(n0 * n1).reshape(n0, n1)
    seen = []
    for part in compiled._parts(layout, threads):
        m0, _, m1, _ = part.layout
        i, j = np.argwhere(blocks == part.block)[0]
        assert elements[i, 0, j, 0] == part.element
        seen.append(blocks[i : i + m0, j : j + m1])
    np.testing.assert_array_equal(np.concatenate([each.ravel() for each in seen]), blocks.ravel())
    assert len(seen) <= threads
    assert all(each.size for each in seen)


def test_a_large_weight_is_rounded_on_as_many_threads_as_pytorch_may_use(monkeypatch):
    weight = np.random.default_rng(3).standard_normal((3, 1 << 20)).astype(np.float32)
    used, done = [], []
    real = compiled._parts
    monkeypatch.setattr(compiled, "_parts", lambda *sizes: used.append(sizes[1]) or real(*sizes))
    round_into = compiled.round_into
    monkeypatch.setattr(
        rounding, "round_into", lambda *args: done.append(round_into(*args)) or done[-1]
    )
    results = []
    for threads in (1, 2, 9):
        monkeypatch.setattr(compiled, "get_num_threads", lambda threads=threads: threads)
        results.append(round_to_nearest(weight, GRIDS[-1], (1, 32)))
    round_to_nearest(weight[:1], GRIDS[-1], (1, 32))  # of the nine, one is worth it
    assert used == ([1, 2, 3, 1] if native.available() else [])
    assert done == [bool(native.available())] * 4  # what fails is done again without the kernel
    for found in results[1:]:
        for part, want in zip(found, results[0], strict=True):
            assert_same_bits(part, want)
