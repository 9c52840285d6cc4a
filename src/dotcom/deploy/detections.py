"""From a detector's raw boxes and scores to the detections worth reporting, in NumPy alone.

For runtimes whose files return raw outputs: this file needs nothing else of the package, and can be copied or ported.
The result equals ``Detector.detect`` in PyTorch. A anchors, K classes, M detections.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

CANDIDATES = 300  # per class, the best scores first
THRESHOLD = 0.001  # a score has to be above it
OVERLAP = 0.55  # of the same class, above which the box with the lower score goes
BEST = 100  # per image, of all classes


def detect(boxes: Array, scores: Array) -> dict[str, Array]:
    """Detections of one image, the best first, at most 100; of equal scores, the earlier anchor first.

    Args:
        boxes: (A, 4), x1 y1 x2 y2 in pixels.
        scores: (A, K) in [0, 1], without the background.

    Returns:
        ``boxes`` (M, 4), ``scores`` (M,), both float32, and ``labels`` (M,), int64 in [0, K).
    """
    index = np.argsort(-scores, axis=0, kind="stable")[:CANDIDATES]
    best = np.take_along_axis(scores, index, axis=0)
    rank, label = np.nonzero(best > THRESHOLD)
    candidates, score = boxes[index[rank, label]], best[rank, label]
    areas = (candidates[:, 2:] - candidates[:, :2]).prod(axis=1)
    left, kept = np.argsort(-score, kind="stable"), []
    while len(left) and len(kept) < BEST:
        first, left = left[0], left[1:]
        kept.append(first)
        overlap = overlaps(candidates[first], areas[first], candidates[left], areas[left])
        left = left[(label[left] != label[first]) | ~(overlap > np.float64(OVERLAP))]  # as torch: not in float32
    keep = np.array(kept, np.int64)
    return {"boxes": candidates[keep], "scores": score[keep], "labels": label[keep]}


def overlaps(box: Array, area: Array, others: Array, areas: Array) -> Array:
    """Intersection over union of one box with others; NaN, which is above nothing, for two without area."""
    corners = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = corners.clip(min=0).prod(axis=1)
    with np.errstate(invalid="ignore"):
        ratio: Array = shared / (area + areas - shared)
    return ratio
