"""Labels by hand, suppression of boxes against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.operation import mil_list
from mil_helpers import IOS15, IOS17, assert_close, checks, evaluate, onnx_run, program

from coreml_assay.mil.evaluator import Evaluator


@checks("classify", against="arithmetic")
@pytest.mark.parametrize("labels", [["cat", "dog", "cow"], [7, 8, 9]])
def test_classify_names_the_most_probable(labels):
    classes = [np.int64(label) if isinstance(label, int) else label for label in labels]

    def build(x):
        return mb.classify(probabilities=x, classes=mb.const(val=mil_list(classes)))

    x = np.array([[0.25, 0.5, 0.125]], np.float32)
    evaluator = Evaluator(program(build, {"x": x}, IOS15))
    label, table = evaluator.predict({"x": x}).values()
    assert label == labels[1]
    assert table == dict(zip(labels, [0.25, 0.5, 0.125], strict=True))


def scene(boxes, classes, seed=0):
    """Random boxes that overlap, and scores without ties."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 10, (1, boxes, 2))
    sizes = rng.uniform(2, 6, (1, boxes, 2))
    scores = rng.permutation(boxes * classes).reshape(1, boxes, classes) / (boxes * classes)
    return np.concatenate([centres, sizes], -1).astype(np.float32), scores.astype(np.float32)


def onnx_selection(boxes, scores, iou, score, most):
    """Boxes that ONNX Runtime keeps for one class, best first."""
    limits = [np.array([most], np.int64), np.array([iou], np.float32)]
    if score is not None:
        limits.append(np.array([score], np.float32))
    return onnx_run(
        "NonMaxSuppression", [boxes, scores[:, None], *limits], center_point_box=1, opset=11
    )[:, 2]


@checks("non_maximum_suppression", against="onnxruntime")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("most", [5, 30])
@pytest.mark.parametrize("iou", [0.1, 0.5])
def test_suppression_of_overlapping_boxes(opset, classes, most, iou):
    boxes, scores = scene(20, classes)
    threshold = 0.31 if opset is IOS15 else None
    kept = onnx_selection(boxes, scores.max(-1), iou, threshold, most)
    check_selection(boxes, scores, opset, iou, threshold, most, False, kept)


@checks("non_maximum_suppression", against="onnxruntime")
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_suppression_within_each_class(opset):
    boxes, scores = scene(20, 3)
    best, label = scores.max(-1), scores.argmax(-1)
    threshold = 0.31 if opset is IOS15 else None
    kept = []
    for c in range(3):
        own = np.flatnonzero(label[0] == c)
        chosen = onnx_selection(boxes[:, own], best[:, own], 0.1, threshold, 20)
        kept.extend(own[chosen])
    kept.sort(key=lambda i: -best[0, i])
    check_selection(boxes, scores, opset, 0.1, threshold, 25, True, np.array(kept))


def check_selection(boxes, scores, opset, iou, threshold, most, per_class, kept):
    """The operation returns the boxes in `kept`, and fills up with zeros and -1."""
    last = opset is IOS17
    more = {} if last else {"score_threshold": np.float32(threshold)}
    found = evaluate(
        lambda boxes, scores: mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=np.float32(iou),
            max_boxes=most,
            per_class_suppression=per_class,
            **more,
        ),
        opset,
        boxes=boxes.swapaxes(1, 2) if last else boxes,
        scores=scores.swapaxes(1, 2) if last else scores,
    )
    chosen_boxes, chosen_scores = (a.swapaxes(1, 2) if last else a for a in found[:2])
    filling = most - len(kept)
    assert found[2][0].tolist() == [*kept.tolist(), *[-1] * filling]
    assert_close(chosen_boxes[0], np.pad(boxes[0, kept], [(0, filling), (0, 0)]), 0)
    assert_close(chosen_scores[0], np.pad(scores[0, kept], [(0, filling), (0, 0)]), 0)
    if not last:
        assert found[3].tolist() == [len(kept)]


@checks("non_maximum_suppression", against="arithmetic")
def test_the_best_box_survives_any_threshold():
    boxes, scores = scene(4, 2)
    found = evaluate(
        lambda boxes, scores: mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=np.float32(0.5),
            score_threshold=np.float32(2.0),
            max_boxes=2,
        ),
        IOS15,
        boxes=boxes,
        scores=scores,
    )
    assert found[2].tolist() == [[scores[0].max(-1).argmax(), -1]]
    assert found[3].tolist() == [1]


@checks("non_maximum_suppression", against="arithmetic")
def test_thresholds_themselves_are_let_pass():
    # Two boxes of which one is half of the other overlap by 0.5; the third is by itself.
    boxes = np.array([[[1, 1, 2, 2], [1, 0.5, 2, 1], [9, 9, 1, 1]]], np.float32)
    scores = np.array([[[0.75], [0.5], [0.25]]], np.float32)
    kept = evaluate(
        lambda boxes, scores: mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=np.float32(0.5),
            score_threshold=np.float32(0.25),
            max_boxes=3,
        ),
        IOS15,
        boxes=boxes,
        scores=scores,
    )[2]
    assert kept.tolist() == [[0, 1, 2]]


def test_classes_are_of_the_announced_type():
    def build(x):
        return mb.classify(probabilities=x, classes=mb.const(val=mil_list([np.int64(1)])))

    prog = program(build, {"x": np.ones((1,), np.float32)}, IOS15)
    (op,) = prog.functions["main"].find_ops(op_type="classify")
    assert op.outputs[0].sym_type is types.int64
    label = next(iter(Evaluator(prog).predict({"x": np.ones((1,), np.float32)}).values()))
    assert type(label) is int
