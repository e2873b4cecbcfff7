"""Gathering and scattering against ONNX Runtime and numpy."""

from __future__ import annotations

import numpy as np
import pytest
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

# The reductions that ONNX knows by other names; sub and div follow from them.
ONNX_REDUCTION = {"update": "none", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def indices_for(opset, *values):
    """Indices in bounds; up to iOS16 the first also as a negative number."""
    array = np.array(values, np.int32)
    if opset is not IOS17:
        array.ravel()[0] -= 4
    return array


@checks("gather", against="numpy")
@pytest.mark.parametrize("opset", [IOS15, IOS16, IOS17])
@pytest.mark.parametrize("shape", [(3,), (2, 2), (1,)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(opset, shape, axis):
    x = normal(4, 4, 4)
    indices = indices_for(opset, *np.random.default_rng(1).integers(0, 4, shape).tolist())
    found = evaluate(
        lambda x, indices: mb.gather(x=x, indices=indices, axis=axis),
        opset,
        flexible={"x": (None, 4, None)},
        x=x,
        indices=indices,
    )
    assert_close(found, np.take(x, indices, axis), 0)


@checks("gather", against="numpy")
def test_gather_by_a_scalar_drops_the_axis():
    x = normal(4, 3)
    found = evaluate(lambda x: mb.gather(x=x, indices=np.int32(2), axis=0), x=x)
    assert_close(found, x[2], 0)


@checks("gather", against="numpy")
@pytest.mark.parametrize("axis", [1, 2])
def test_gather_with_batches(axis):
    x, indices = normal(2, 4, 5, 3), np.array([[[0, 2], [1, 1]], [[3, 0], [2, 3]]], np.int32)
    found = evaluate(
        lambda x, indices: mb.gather(x=x, indices=indices, axis=axis, batch_dims=1),
        x=x,
        indices=indices,
    )
    expected = np.stack([np.take(x[b], indices[b], axis - 1) for b in range(2)])
    assert_close(found, expected, 0)


@checks("gather_along_axis", against="onnxruntime")
@pytest.mark.parametrize("opset", [IOS15, IOS16, IOS17])
@pytest.mark.parametrize("axis", [0, 1])
def test_gather_along_axis(opset, axis):
    x = normal(4, 4)
    values = np.random.default_rng(1).integers(0, 4, (4, 3) if axis else (3, 4))
    indices = indices_for(opset, *values.tolist())
    found = evaluate(
        lambda x, indices: mb.gather_along_axis(x=x, indices=indices, axis=axis),
        opset,
        x=x,
        indices=indices,
    )
    expected = onnx_run("GatherElements", [x, indices.astype(np.int64)], axis=axis)
    assert_close(found, expected, 0)


@checks("gather_nd", against="onnxruntime")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("opset", "batch_dims"), [(IOS15, 0), (IOS16, 0), (IOS16, 1), (IOS17, 0), (IOS17, 1)]
)
def test_gather_nd(opset, batch_dims, depth):
    x = normal(2, 3, 4, 5)
    limits = x.shape[batch_dims : batch_dims + depth]
    indices = np.random.default_rng(1).integers(0, limits, (2, 3, depth)).astype(np.int32)
    batches = {"batch_dims": batch_dims} if batch_dims else {}
    found = evaluate(
        lambda x, indices: mb.gather_nd(x=x, indices=indices, **batches),
        opset,
        x=x,
        indices=indices,
    )
    expected = onnx_run("GatherND", [x, indices.astype(np.int64)], batch_dims=batch_dims)
    assert_close(found, expected, 0)


@checks("scatter_nd", against="onnxruntime")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
@pytest.mark.parametrize("mode", ["update", "add", "sub", "mul", "div", "max", "min"])
def test_scatter_nd(opset, mode):
    data, updates = normal(4, 4, 2), np.abs(normal(3, 2, seed=1)) + 0.5
    indices = indices_for(opset, [0, 1], [2, 3], [3, 0])
    found = evaluate(
        lambda data, indices, updates: mb.scatter_nd(
            data=data, indices=indices, updates=updates, mode=mode
        ),
        opset,
        data=data,
        indices=indices,
        updates=updates,
    )
    assert_close(found, onnx_scatter("ScatterND", data, indices, updates, mode))


@checks("scatter_along_axis", against="onnxruntime")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
@pytest.mark.parametrize("mode", ["update", "add", "sub", "mul", "div", "max", "min"])
def test_scatter_along_axis(opset, mode):
    data, updates = normal(3, 4), np.abs(normal(3, 2, seed=1)) + 0.5
    indices = indices_for(opset, [0, 1], [3, 2], [1, 3])
    found = evaluate(
        lambda data, indices, updates: mb.scatter_along_axis(
            data=data, indices=indices, updates=updates, axis=1, mode=mode
        ),
        opset,
        data=data,
        indices=indices,
        updates=updates,
    )
    assert_close(found, onnx_scatter("ScatterElements", data, indices, updates, mode, axis=1))


def onnx_scatter(op_type, data, indices, updates, mode, **attributes):
    """ONNX Runtime's scatter; what it lacks is put as adding the opposite or the inverse."""
    if mode == "sub":
        mode, updates = "add", -updates
    if mode == "div":
        mode, updates = "mul", 1 / updates
    return onnx_run(
        op_type,
        [data, indices.astype(np.int64), updates],
        reduction=ONNX_REDUCTION[mode],
        **attributes,
    )


@checks("scatter", against="documentation")
def test_scatter_adds_slices():
    found = evaluate(
        lambda data, indices, updates: mb.scatter(
            data=data, indices=indices, updates=updates, axis=0, mode="add"
        ),
        data=np.array([[1, 2, 3], [4, 5, 6]], np.float32),
        indices=np.array([1, 0], np.int32),
        updates=np.array([[5, 6, 7], [8, 9, 10]], np.float32),
    )
    assert found.tolist() == [[9, 11, 13], [9, 11, 13]]


@checks("scatter", against="numpy")
@pytest.mark.parametrize("mode", ["update", "add", "sub", "mul", "div", "max", "min"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_scatter_along_any_axis(mode, axis, opset):
    data, indices = np.abs(normal(4, 4, 4)) + 0.5, np.array([2, 0], np.int32)
    updates = np.moveaxis(np.abs(normal(2, 4, 4, seed=1)) + 0.5, 0, axis)
    found = evaluate(
        lambda data, indices, updates: mb.scatter(
            data=data, indices=indices, updates=updates, axis=axis, mode=mode
        ),
        opset,
        data=data,
        indices=indices,
        updates=updates,
    )
    combine = {
        "update": lambda old, new: new,
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": np.divide,
        "max": np.maximum,
        "min": np.minimum,
    }[mode]
    expected = np.moveaxis(data.copy(), axis, 0)
    for place, update in zip(indices, np.moveaxis(updates, axis, 0), strict=True):
        expected[place] = combine(expected[place], update)
    assert_close(found, np.moveaxis(expected, 0, axis))


@checks("scatter_nd", "scatter", against="arithmetic")
def test_updates_that_meet_are_all_applied():
    data, indices = np.array([8.0, 1.0], np.float32), np.array([0, 0], np.int32)
    updates = np.array([2.0, 4.0], np.float32)
    results = evaluate(
        lambda data, indices, updates: [
            scatter(data=data, indices=places, updates=updates, mode=mode)
            for scatter, places in (
                (mb.scatter, indices),
                (mb.scatter_nd, mb.expand_dims(x=indices, axes=[1])),
            )
            for mode in ("add", "sub", "mul", "div", "max", "min")
        ],
        data=data,
        indices=indices,
        updates=updates,
    )
    assert [array.tolist()[0] for array in results] == [14, 2, 64, 1, 8, 2] * 2
    assert all(array.tolist()[1] == 1 for array in results)


@pytest.mark.parametrize("index", [-1, 4])
def test_ios17_validates_indices_if_asked_to(index):
    x, indices = normal(4, 2), np.array([0, index], np.int32)
    with pytest.raises(EvaluationError, match=f"index {index} is out of bounds"):
        evaluate(
            lambda x, indices: mb.gather(x=x, indices=indices, validate_indices=True),
            x=x,
            indices=indices,
        )


@pytest.mark.parametrize(("index", "row"), [(-1, 3), (9, 3), (-9, 0)])
def test_ios17_without_validation_stays_inside(index, row):
    x, indices = normal(4, 2), np.array([index], np.int32)
    found = evaluate(
        lambda x, indices: mb.gather(x=x, indices=indices, validate_indices=False),
        x=x,
        indices=indices,
    )
    assert_close(found, x[[row]], 0)


@pytest.mark.parametrize("opset", [IOS15, IOS16])
def test_before_ios17_indices_out_of_bounds_are_an_error(opset):
    with pytest.raises(EvaluationError, match="index -5 is out of bounds"):
        evaluate(
            lambda x, indices: mb.gather(x=x, indices=indices),
            opset,
            x=normal(4, 2),
            indices=np.array([-5], np.int32),
        )
