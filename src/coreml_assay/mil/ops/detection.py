"""What turns a network's last tensors into an answer: labels, and boxes that do not overlap.

Source: ``classify`` of iOS15, ``non_maximum_suppression`` of iOS15 and iOS17.
"""

from __future__ import annotations

from typing import TypeVar

import torch

from coreml_assay.mil.ops._arguments import Operation

_Class = TypeVar("_Class", int, str)


def classify(
    *, probabilities: torch.Tensor, classes: tuple[_Class, ...]
) -> tuple[_Class, dict[_Class, float]]:
    """The most probable class, and the probability of each."""
    flat = probabilities.reshape(-1)
    if len(flat) != len(classes):
        raise ValueError(f"{len(classes)} classes for {len(flat)} probabilities")
    table = dict(zip(classes, flat.tolist(), strict=True))
    return classes[int(torch.argmax(flat))], table


def non_maximum_suppression(
    *,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    max_boxes: int,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> tuple[torch.Tensor, ...]:
    """The best boxes, none overlapping a better one by more than iou_threshold.

    Boxes are (x, y, width, height) about their centre. With score_threshold (up to iOS16) they
    are [n, B, 4] and scores [n, B, K], and the number of boxes is returned too; without (iOS17)
    they are [n, 4, B] and [n, K, B]. Boxes and scores that are missing are 0, their indices -1.
    """
    last_is_box = score_threshold is None
    if last_is_box:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    n, _, classes = scores.shape
    chosen_boxes, chosen_scores = (
        boxes.new_zeros(n, max_boxes, 4),
        scores.new_zeros(n, max_boxes, classes),
    )
    chosen, counts = torch.full((n, max_boxes), -1), torch.zeros(n, dtype=torch.int32)
    for i in range(n):
        kept = _select(boxes[i], scores[i], iou_threshold, score_threshold, per_class_suppression)[
            :max_boxes
        ]
        counts[i] = len(kept)
        chosen[i, : len(kept)] = kept
        chosen_boxes[i, : len(kept)] = boxes[i, kept]
        chosen_scores[i, : len(kept)] = scores[i, kept]
    if last_is_box:
        return chosen_boxes.transpose(1, 2), chosen_scores.transpose(1, 2), chosen
    return chosen_boxes, chosen_scores, chosen, counts


def _select(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    score_threshold: float | None,
    per_class: bool,
) -> torch.Tensor:
    """Indices of the boxes [B, 4] to keep by scores [B, K], best first."""
    best, label = scores.max(1)
    order = torch.argsort(best, descending=True, stable=True)
    if score_threshold is not None:
        # coremltools' tests on Core ML expect the best box also where no score is sufficient.
        order = (
            order[best[order] >= score_threshold] if best.max() >= score_threshold else order[:1]
        )
    overlap = _intersection_over_union(boxes)
    if per_class:
        overlap = torch.where(label[:, None] == label[None, :], overlap, torch.zeros_like(overlap))
    kept: list[int] = []
    for candidate in order.tolist():
        if not (overlap[candidate, kept] > iou_threshold).any():
            kept.append(candidate)
    return torch.tensor(kept, dtype=torch.int64)


def _intersection_over_union(boxes: torch.Tensor) -> torch.Tensor:
    """Of each box [B, 4] with each other, [B, B]; 0 where neither has an area."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    corner = torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])
    intersection = corner.clamp(min=0).prod(-1)
    area = boxes[:, 2] * boxes[:, 3]
    union = area[:, None] + area[None] - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


DETECTION: dict[str, Operation] = {
    "classify": classify,
    "non_maximum_suppression": non_maximum_suppression,
}
