"""Decompression of weights against documented examples and loops over every element."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from mil_helpers import IOS16, IOS18, assert_close, checks, evaluate, program

from coreml_assay.mil.errors import EvaluationError
from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.ops import CONSTANT_OPERATIONS
from coreml_assay.mil.precision import Precision


def decompress(op_type, **operands):
    return CONSTANT_OPERATIONS[op_type](
        **{key: value if value is None else np.asarray(value) for key, value in operands.items()}
    )


def through_a_program(build, opset):
    """What a program adds to zero, so that its weight is decompressed on the way."""
    shape = program(lambda x: build(), {"x": np.zeros(1, np.float32)}, opset)
    (weight,) = shape.functions["main"].outputs
    zero = np.zeros(weight.shape, np.float32)
    return evaluate(lambda x: mb.add(x=x, y=build()), opset, x=zero)


@checks("constexpr_affine_dequantize", against="numpy")
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_affine_dequantize(axis, per_tensor, dtype):
    limits = np.iinfo(dtype)
    data = np.random.default_rng(0).integers(limits.min, limits.max, (3, 3, 3), dtype)
    scale = np.array(0.25 if per_tensor else [0.25, 0.5, 3.0], np.float32)
    zero_point = np.array(5 if per_tensor else [5, 0, 100], dtype)
    found = through_a_program(
        lambda: mb.constexpr_affine_dequantize(
            quantized_data=data, zero_point=zero_point, scale=scale, axis=np.int32(axis)
        ),
        IOS16,
    )
    expected = np.zeros(data.shape)
    for place in np.ndindex(data.shape):
        s, z = (p if per_tensor else p[place[axis]] for p in (scale, zero_point))
        expected[place] = float(s) * (int(data[place]) - int(z))
    assert_close(found, expected, 0)


@checks("constexpr_blockwise_shift_scale", against="numpy")
@pytest.mark.parametrize("blocks", [(1, 1), (4, 1), (1, 2), (2, 3), (4, 6)])
@pytest.mark.parametrize("offset", [None, "integer", "float"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
def test_blockwise_shift_scale(blocks, offset, dtype):
    rng = np.random.default_rng(0)
    storage = types.nptype_from_builtin(types.string_to_builtin(dtype))
    low, high = (-8, 8) if dtype == "int4" else (0, 16)
    data = rng.integers(low, high, (4, 6)).astype(storage)
    scale = rng.uniform(0.1, 1, blocks).astype(np.float32)
    shift = {
        None: None,
        "integer": rng.integers(0, 8, blocks).astype(storage),
        "float": rng.uniform(-1, 1, blocks).astype(np.float32),
    }[offset]
    found = through_a_program(
        lambda: mb.constexpr_blockwise_shift_scale(data=data, scale=scale, offset=shift), IOS18
    )
    expected = np.zeros(data.shape)
    for i, j in np.ndindex(data.shape):
        block = i * blocks[0] // 4, j * blocks[1] // 6
        z = 0.0 if shift is None else float(shift[block])
        expected[i, j] = float(scale[block]) * (int(data[i, j]) - z)
    assert_close(found, expected, 3e-7)


@checks("constexpr_cast", against="numpy")
@pytest.mark.parametrize("opset", [IOS16, IOS18])
def test_cast_widens(opset):
    value = np.array([1.5, -65504.0, 6e-8], np.float16)
    found = through_a_program(
        lambda: mb.constexpr_cast(source_val=value, output_dtype="fp32"), opset
    )
    assert_close(found, value.astype(np.float32), 0)


def packed(values, bits):
    """Numbers as a stream of bits, least significant first."""
    stream = list(itertools.chain.from_iterable([v >> b & 1 for b in range(bits)] for v in values))
    stream += [0] * (-len(stream) % 8)
    return np.array(
        [
            sum(bit << i for i, bit in enumerate(stream[n : n + 8]))
            for n in range(0, len(stream), 8)
        ],
        np.uint8,
    )


@checks("constexpr_lut_to_dense", against="documentation")
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_indices_into_one_table(bits):
    rng = np.random.default_rng(0)
    lut = rng.normal(size=2**bits).astype(np.float32)
    indices = rng.integers(0, 2**bits, 15)
    found = through_a_program(
        lambda: mb.constexpr_lut_to_dense(
            indices=packed(indices.tolist(), bits), lut=lut, shape=np.array([3, 5], np.uint32)
        ),
        IOS16,
    )
    assert_close(found, lut[indices].reshape(3, 5), 0)


def test_the_documented_packing():
    # n_bits = 2: byte 0 holds i3 i2 i1 i0 = 01 10 11 00, byte 1 holds i4 = 11.
    found = decompress(
        "constexpr_lut_to_dense",
        indices=np.array([0b01101100, 0b00000011], np.uint8),
        lut=[0.0, 1.0, 2.0, 3.0],
        shape=[5],
    )
    assert found.tolist() == [0, 3, 2, 1, 3]
    assert packed([0, 3, 2, 1, 3], 2).tolist() == [0b01101100, 0b00000011]


def sub_byte(values, dtype):
    return np.array(values).astype(types.nptype_from_builtin(types.string_to_builtin(dtype)))


@checks("constexpr_lut_to_dense", against="documentation")
def test_tables_for_groups():
    indices = [[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]]
    lut = np.array([1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0], np.float32).reshape(2, 1, 4, 1)
    found = through_a_program(
        lambda: mb.constexpr_lut_to_dense(indices=sub_byte(indices, "uint2"), lut=lut), IOS18
    )
    assert found.tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]


@checks("constexpr_lut_to_dense", against="documentation")
@pytest.mark.parametrize("axis", [1, 2])
def test_tables_of_vectors(axis):
    indices = [[[0, 0], [1, 0]], [[1, 1], [0, 0]]]
    a, b = [1.0, 2.0, 3.0], [10.0, 20.0, 30.0]
    lut = np.array([a, b], np.float32).reshape(1, 1, 1, 2, 3)
    found = through_a_program(
        lambda: mb.constexpr_lut_to_dense(
            indices=sub_byte(indices, "uint1"), lut=lut, vector_axis=np.int32(axis)
        ),
        IOS18,
    )
    along_rows = [
        [*([a[i], a[i]] for i in range(3)), *([b[i], a[i]] for i in range(3))],
        [*([b[i], b[i]] for i in range(3)), *([a[i], a[i]] for i in range(3))],
    ]
    along_columns = [[a + a, b + a], [b + b, a + a]]
    assert found.tolist() == (along_rows if axis == 1 else along_columns)


MASK = [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
INDICES = [0, 1, 1, 0, 1, 1, 0, 0, 1]


@checks("constexpr_lut_to_sparse", against="documentation")
def test_sparse_indices_into_a_table():
    mask, data = decompress(
        "constexpr_lut_to_sparse",
        indices_mask=MASK,
        indices_nonzero_data=INDICES,
        lut=np.array([2.0, 3.0]).reshape(1, 1, 2, 1),
    )
    assert mask.tolist() == MASK
    assert data.tolist() == [2, 3, 3, 2, 3, 3, 2, 2, 3]


@checks("constexpr_lut_to_sparse", "constexpr_sparse_to_dense", against="documentation")
def test_sparse_indices_into_a_table_of_vectors():
    def build():
        mask, data = mb.constexpr_lut_to_sparse(
            indices_mask=sub_byte(MASK, "uint1"),
            indices_nonzero_data=sub_byte(INDICES, "uint1"),
            lut=np.array([[2.0, 2.0], [3.0, 3.0]], np.float32).reshape(1, 1, 2, 2),
            vector_axis=np.int32(0),
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask)

    rows = [[2, 3, 0, 0, 0, 0], [3, 2, 0, 0, 0, 3], [0, 3, 2, 0, 2, 0], [0, 0, 0, 3, 0, 0]]
    found = through_a_program(build, IOS18)
    assert found.tolist() == [row for row in rows for _ in range(2)]


@checks("constexpr_sparse_blockwise_shift_scale", against="documentation")
def test_sparse_shift_scale():
    mask = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]]
    found_mask, data = decompress(
        "constexpr_sparse_blockwise_shift_scale",
        data_mask=mask,
        nonzero_data=[10, 11, 3, 4, 5, 6, 7, 8, 9],
        scale=np.array([[0.1, 0.2, 0.3, 0.4]]),
        offset=[[1, 2, 3, 4]],
    )
    assert found_mask.tolist() == mask
    expected = [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4]
    assert_close(data, expected, 1e-12)

    def build():
        mask_of_data, shifted = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=sub_byte(mask, "uint1"),
            nonzero_data=np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8),
            scale=np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
            offset=np.array([[1, 2, 3, 4]], np.int8),
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=shifted, mask=mask_of_data)

    dense = np.zeros((4, 4))
    dense[np.nonzero(mask)] = expected
    assert_close(through_a_program(build, IOS18), dense)


@checks("constexpr_sparse_to_dense", against="documentation")
def test_sparse_to_dense_with_a_packed_mask():
    # i2 and i3 of five elements are set.
    found = through_a_program(
        lambda: mb.constexpr_sparse_to_dense(
            nonzero_data=np.array([1.5, -2.0], np.float32),
            mask=np.array([0b01100], np.uint8),
            shape=np.array([5], np.uint32),
        ),
        IOS16,
    )
    assert found.tolist() == [0, 0, 1.5, -2.0, 0]


def test_precisions_hold_decompressed_weights_as_they_hold_other_values():
    data, scale = np.array([[3]], np.int8), np.array([[0.1]], np.float16)
    x = np.zeros((1, 1), np.float16)

    def build(x):
        return mb.add(x=x, y=mb.constexpr_blockwise_shift_scale(data=data, scale=scale))

    prog = program(build, {"x": x}, IOS18)
    found = {p: next(iter(Evaluator(prog, p).predict({"x": x}).values())).item() for p in Precision}
    exact = 3 * float(scale.item())
    assert found[Precision.FLOAT64] == exact
    assert found[Precision.FLOAT32] == np.float32(exact)
    assert found[Precision.FLOAT16] == np.float16(exact)


def test_a_weight_that_cannot_be_restored_is_named():
    def build(x):
        weight = mb.constexpr_sparse_to_dense(
            nonzero_data=np.ones(2, np.float32),
            mask=np.array([0b00011], np.uint8),
            shape=np.array([5], np.uint32),
            name="broken",
        )
        return mb.add(x=x, y=weight)

    prog = program(build, {"x": np.zeros(5, np.float32)}, IOS16)
    (op,) = prog.functions["main"].find_ops(op_type="constexpr_sparse_to_dense")
    op.mask._sym_val.val = np.array([0b00111], np.uint8)
    with pytest.raises(EvaluationError, match=r"'constexpr_sparse_to_dense' \(named 'broken'"):
        Evaluator(prog)
