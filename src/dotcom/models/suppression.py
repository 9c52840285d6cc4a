"""Non-maximum suppression by class that stops when it has found enough.

Shapes: A boxes, K classes, M detections.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, nms

FEW = 1000  # candidates up to which torchvision suppresses all classes at once on a CPU, and we with it
MARGIN = 1e-3  # of an intersection over union, far above what rounding can do


def suppressed(
    boxes: Tensor, scores: Tensor, threshold: float, overlap: float, per_class: int, wanted: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes of which none covers another of its class: the same as torchvision's SSD finds, number by number.

    Whether a box is kept depends on better boxes of its class alone. So the best candidates of all classes are
    looked at first, and more of them only if too few remain.

    Args:
        boxes: (A, 4) as x1 y1 x2 y2.
        scores: (A, K), without the background.
        threshold: Scores above it count.
        overlap: Intersection over union above which the worse box is dropped, in [0, 1].
        per_class: Candidates of a class, at most.
        wanted: M, at most.

    Returns:
        Boxes (M, 4), scores (M,) and classes (M,), the best first.
    """
    if boxes.device.type != "cpu" or int((scores > threshold).sum(dim=0).clamp(max=per_class).sum()) <= FEW:
        return _at_once(boxes, scores, threshold, overlap, per_class, wanted)
    flat = scores.flatten()
    above = (flat > threshold).nonzero()[:, 0]
    everything, size = len(above), 2 * wanted
    while True:
        size = min(size, everything)
        best, chosen = flat[above].topk(size)
        index = above[chosen]
        anchor, label = index // scores.shape[1], index % scores.shape[1]
        keep = _kept(boxes[anchor], best, label, overlap, per_class)
        if len(keep) >= wanted or size == everything:
            keep = keep[:wanted]
            return boxes[anchor[keep]], best[keep], label[keep]
        size *= 4


def _kept(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, per_class: int) -> Tensor:
    """Indices of what remains of candidates that are sorted by score, class by class."""
    touching = _touching(boxes, labels, overlap)
    kept = []
    for label, some in enumerate(torch.split(labels.argsort(stable=True), labels.bincount().tolist())):
        group = some[:per_class]
        kept.append(group[nms(boxes[group], scores[group], overlap)] if label in touching else group)
    return torch.cat(kept).sort().values


def _touching(boxes: Tensor, labels: Tensor, overlap: float) -> set[int]:
    """The classes in which something may be dropped; rounding, which depends on the machine, is left to ``nms``."""
    if len(boxes) > FEW:  # a matrix of all pairs would cost more than it saves
        return set(labels.tolist())
    pairs = (box_iou(boxes, boxes) > overlap - MARGIN).triu_(1) & (labels[:, None] == labels)
    return set(labels[pairs.any(dim=0)].tolist())


def _at_once(
    boxes: Tensor, scores: Tensor, threshold: float, overlap: float, per_class: int, wanted: int
) -> tuple[Tensor, Tensor, Tensor]:
    best, index = scores.topk(min(per_class, len(scores)), dim=0)  # of each class
    rank, label = (best > threshold).nonzero(as_tuple=True)
    candidates, score = boxes[index[rank, label]], best[rank, label]
    keep = batched_nms(candidates, score, label, overlap)[:wanted]
    return candidates[keep], score[keep], label[keep]
