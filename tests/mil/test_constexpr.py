"""The values of compressed constants: worked out by hand, and as coremltools works them out."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from package_helpers import constexpr, same_as_coremltools

from coreml_assay.mil.constexpr import is_constexpr, materialize

f16, f32, i8, u8 = np.float16, np.float32, np.int8, np.uint8


def uint(bits, values):
    return np.array(values, types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}")))


def uint1(values):
    return uint(1, values)


def affine(scale, zero_point, axis=0, data=((1, 2, 3), (-4, 5, 6)), dtype=i8, **of):
    return constexpr(
        "iOS16",
        mb.constexpr_affine_dequantize,
        quantized_data=np.array(data, dtype),
        scale=scale,
        zero_point=zero_point,
        axis=np.int32(axis),
        **of,
    )


AFFINE = {
    "scalars": (affine(f32(2), i8(1)), [[0, 2, 4], [-10, 8, 10]]),
    "vectors": (
        affine(np.array([2, 3], f32), np.array([1, -1], i8)),
        [[0, 2, 4], [-9, 18, 21]],
    ),
    "vectors on the last axis": (
        affine(np.array([1, 2, 3], f16), np.array([0, 1, 2], i8), axis=-1),
        [[1, 2, 3], [-4, 8, 12]],
    ),
    "vector and scalar": (affine(np.array([2, 3], f32), i8(1)), [[0, 2, 4], [-15, 12, 15]]),
    "scalar and vector": (
        affine(f32(2), np.array([1, -1, 0], i8), axis=1),
        [[0, 6, 6], [-10, 12, 12]],
    ),
    "fractional zero point": (affine(f32(2), f32(0.5)), [[1, 3, 5], [-9, 9, 11]]),
    "far apart": (
        affine(f32(1), u8(255), data=[[0, 255]], dtype=u8),
        [[-255, 0]],
    ),
}


@pytest.mark.parametrize("case", AFFINE)
def test_affine_dequantize(case):
    operation, expected = AFFINE[case]
    (found,) = materialize(operation)
    assert found.tolist() == expected
    assert found.dtype == operation.scale.val.dtype
    same_as_coremltools(operation)


def test_cast_gives_float32():
    source = np.array([1.5, -2.25, 65504], f16)
    operation = constexpr("iOS16", mb.constexpr_cast, source_val=source, output_dtype="fp32")
    (found,) = materialize(operation)
    assert found.tolist() == [1.5, -2.25, 65504]
    assert found.dtype == f32
    same_as_coremltools(operation)


def test_packed_look_up_table_fills_bytes_from_the_lowest_bit():
    operation = constexpr(
        "iOS16",
        mb.constexpr_lut_to_dense,
        indices=np.array([0b00_11_10_01, 0b00_00_00_11], u8),
        lut=np.array([10, 11, 12, 13], f32),
        shape=np.array([5], np.uint32),
    )
    assert materialize(operation)[0].tolist() == [11, 12, 13, 10, 13]
    same_as_coremltools(operation)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_look_up_tables_of_every_width(bits):
    rng = np.random.default_rng(bits)
    shape = (3, 5, 2)
    operation = constexpr(
        "iOS16",
        mb.constexpr_lut_to_dense,
        indices=np.packbits(rng.integers(0, 2, bits * 30), bitorder="little").astype(u8),
        lut=rng.standard_normal(2**bits).astype(f16),
        shape=np.array(shape, np.uint32),
    )
    assert materialize(operation)[0].shape == shape
    same_as_coremltools(operation)


def test_packed_sparse_weight():
    operation = constexpr(
        "iOS16",
        mb.constexpr_sparse_to_dense,
        nonzero_data=np.array([3, 5, 7], f16),
        mask=np.array([0b1001_0100], u8) & u8(0b0001_1111) | u8(0b0000_0001),
        shape=np.array([5], np.uint32),
    )
    assert materialize(operation)[0].tolist() == [3, 0, 5, 0, 7]
    same_as_coremltools(operation)


@pytest.mark.parametrize("dtype", [f16, f32])
@pytest.mark.parametrize("with_offset", [True, False])
def test_blockwise_shift_scale(dtype, with_offset):
    operation = constexpr(
        "iOS18",
        mb.constexpr_blockwise_shift_scale,
        data=np.array([[10, 20, 30, 40], [-10, -20, -30, -128]], i8),
        scale=np.array([[0.5, 2], [1, 4]], dtype),
        offset=np.array([[2, -2], [0, 127]], i8) if with_offset else None,
    )
    by_hand = {
        True: [[4, 9, 64, 84], [-10, -20, -628, -1020]],
        False: [[5, 10, 60, 80], [-10, -20, -120, -512]],
    }
    (found,) = materialize(operation)
    assert found.tolist() == by_hand[with_offset]
    assert found.dtype == dtype
    same_as_coremltools(operation)


def test_blockwise_shift_scale_rounds_once():
    rng = np.random.default_rng(0)
    operation = constexpr(
        "iOS18",
        mb.constexpr_blockwise_shift_scale,
        data=rng.integers(0, 256, (8, 64)).astype(u8),
        scale=rng.uniform(1e-5, 1, (8, 4)).astype(f16),
        offset=rng.integers(0, 256, (8, 4)).astype(u8),
    )
    same_as_coremltools(operation)


# The three examples of the operation's documentation.
GROUPED = [[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]]
A, B = [1, 2, 3], [4, 5, 6]
VECTORS = [[[0, 0], [1, 0]], [[1, 1], [0, 0]]]


def test_look_up_tables_of_two_groups():
    operation = constexpr(
        "iOS18",
        mb.constexpr_lut_to_dense,
        indices=uint(2, GROUPED),
        lut=np.array([1, 5, 9, 13, 2, 10, 18, 26], f16).reshape(2, 1, 4, 1),
    )
    expected = [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
    assert materialize(operation)[0].tolist() == expected
    same_as_coremltools(operation)


@pytest.mark.parametrize(
    ("vector_axis", "expected"),
    [
        (
            1,
            [
                [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]],
                [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]],
            ],
        ),
        (2, [[A + A, B + A], [B + B, A + A]]),
        (-1, [[A + A, B + A], [B + B, A + A]]),
    ],
)
def test_look_up_table_of_vectors(vector_axis, expected):
    operation = constexpr(
        "iOS18",
        mb.constexpr_lut_to_dense,
        indices=uint1(VECTORS),
        lut=np.array([A, B], i8).reshape(1, 1, 1, 2, 3),
        vector_axis=np.int32(vector_axis),
    )
    (found,) = materialize(operation)
    assert found.tolist() == expected
    assert found.dtype == i8
    same_as_coremltools(operation)


@pytest.mark.parametrize("vector_axis", [0, 1])
def test_grouped_look_up_tables_of_vectors(vector_axis):
    rng = np.random.default_rng(vector_axis)
    operation = constexpr(
        "iOS18",
        mb.constexpr_lut_to_dense,
        indices=uint(3, rng.integers(0, 8, (6, 4))),
        lut=rng.standard_normal((3, 2, 8, 2)).astype(f32),
        vector_axis=np.int32(vector_axis),
    )
    same_as_coremltools(operation)


MASK = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]]


def test_sparse_weight():
    operation = constexpr(
        "iOS18",
        mb.constexpr_sparse_to_dense,
        nonzero_data=np.arange(1, 10, dtype=f16),
        mask=uint1(MASK),
    )
    expected = [[1, 2, 0, 0], [3, 4, 5, 0], [0, 0, 6, 7], [8, 9, 0, 0]]
    assert materialize(operation)[0].tolist() == expected
    same_as_coremltools(operation)


def test_sparse_codes():
    operation = constexpr(
        "iOS18",
        mb.constexpr_sparse_blockwise_shift_scale,
        data_mask=uint1(MASK),
        nonzero_data=np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], i8),
        scale=np.array([[1, 2, 3, 4]], f32),
        offset=np.array([[1, 2, 3, 4]], i8),
    )
    mask, nonzero = materialize(operation)
    assert mask.tolist() == MASK
    assert nonzero.tolist() == [9, 18, 2, 4, 6, 9, 12, 7, 14]
    same_as_coremltools(operation)


def sparse_indices(lut, **of):
    return constexpr(
        "iOS18",
        mb.constexpr_lut_to_sparse,
        indices_mask=uint1(MASK),
        indices_nonzero_data=uint1([0, 1, 1, 0, 1, 1, 0, 0, 1]),
        lut=lut,
        **of,
    )


def test_sparse_indices_of_numbers():
    operation = sparse_indices(np.array([2, 3], f16).reshape(1, 1, 2, 1))
    mask, nonzero = materialize(operation)
    assert mask.tolist() == MASK
    assert nonzero.tolist() == [2, 3, 3, 2, 3, 3, 2, 2, 3]
    same_as_coremltools(operation)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sparse_indices_of_vectors_widen_the_mask(axis):
    lut = np.array([[2, 2.5], [3, 3.5]], f16).reshape(1, 1, 2, 2)
    operation = sparse_indices(lut, vector_axis=np.int32(axis))
    mask, nonzero = materialize(operation)
    assert mask.tolist() == np.repeat(MASK, 2, axis).tolist()
    assert nonzero.size == 18
    same_as_coremltools(operation)


def test_a_vector_axis_means_nothing_for_numbers():
    lut = np.array([2, 3], f16).reshape(1, 1, 2, 1)
    with_axis, without = (
        materialize(sparse_indices(lut, **of)) for of in ({"vector_axis": np.int32(1)}, {})
    )
    for one, other in zip(with_axis, without, strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_that_are_compressed_themselves_are_materialised_first():
    def body():
        lut = mb.constexpr_blockwise_shift_scale(
            data=np.array([1, 2], i8).reshape(1, 1, 2, 1), scale=np.full((1, 1, 1, 1), 10, f32)
        )
        mask, nonzero = mb.constexpr_lut_to_sparse(
            indices_mask=uint1(MASK),
            indices_nonzero_data=uint1([0, 1, 1, 0, 1, 1, 0, 0, 1]),
            lut=lut,
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=nonzero, mask=mask)

    (found,) = materialize(constexpr("iOS18", body))
    assert found.tolist() == [[10, 20, 0, 0], [20, 10, 20, 0], [0, 0, 20, 10], [10, 20, 0, 0]]


def test_quantized_values_of_a_sparse_weight_chain():
    def body():
        mask, nonzero = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=uint1(MASK),
            nonzero_data=np.arange(9, dtype=i8),
            scale=np.full((1, 1), 2, f16),
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=nonzero, mask=mask)

    operation = constexpr("iOS18", body)
    assert materialize(operation)[0].tolist() == [
        [0, 2, 0, 0],
        [4, 6, 8, 0],
        [0, 0, 10, 12],
        [14, 16, 0, 0],
    ]
    same_as_coremltools(operation)


def test_what_is_no_compressed_constant_is_refused_by_name():
    operation = constexpr("iOS18", mb.identity, x=np.zeros(3, f32), name="thing")
    assert not is_constexpr(operation)
    with pytest.raises(
        ValueError, match=r"^identity \(operation thing\) is not a compressed"
    ) as raised:
        materialize(operation)
    assert "\n" not in str(raised.value)
