"""What it means that a file agrees with the published network, for each task.

Shapes: K classes, A anchors, M detections; images are (1, 3, N, N).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from dotcom.data.transforms import IGNORED
from dotcom.deploy.detections import detect, overlaps
from dotcom.deploy.formats import Array
from dotcom.deploy.samples import Sample
from dotcom.models import Classifier, Detector, Segmenter
from dotcom.tasks.detection import measured, truth

Outputs = dict[str, Array]

TIE = 1e-3  # of the spread of an image's logits: classes so close are equally right
SAME = 0.9  # intersection over union of two boxes that are the same
EQUAL = 1e-3  # pixels between corners


class Judge(Protocol):
    """Compares and scores the outputs for one image, of a network and of a file.

    Attributes:
        metric: What ``score`` is, a number in [0, 1]; more is better.
    """

    metric: str

    def published(self, image: Array) -> Outputs:
        """The outputs of the network as it was trained: eager, float32, nothing fused."""

    def difference(self, expected: Outputs, found: Outputs) -> dict[str, float]:
        """The largest difference of each output."""

    def agreement(self, expected: Outputs, found: Outputs, least: float) -> tuple[int, int]:
        """How many of how many results are equal; of detections, those that either side scores ``least`` or more."""

    def answer(self, outputs: Outputs) -> Any:
        """What the task is after, of one image; much smaller than the outputs."""

    def score(self, answers: Sequence[Any], samples: Sequence[Sample]) -> float:
        """How right the answers are."""


def judge_of(network: nn.Module) -> Judge:
    """The judge for a network from a checkpoint."""
    if isinstance(network, Detector):
        return Boxes(network)
    if isinstance(network, Segmenter):
        return Masks(network)
    assert isinstance(network, Classifier)
    return Classes(network)


class Logits:
    """What classes and masks have in common: logits (1, K, ...), of which the largest is the answer."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.inference_mode()
    def published(self, image: Array) -> Outputs:
        return {"logits": self.network(torch.from_numpy(image)).numpy()}

    def difference(self, expected: Outputs, found: Outputs) -> dict[str, float]:
        return largest(expected, found)

    def agreement(self, expected: Outputs, found: Outputs, least: float) -> tuple[int, int]:
        logits, other = expected["logits"], found["logits"]
        chosen = np.take_along_axis(logits, other.argmax(axis=1, keepdims=True), axis=1)
        equal = chosen >= logits.max(axis=1, keepdims=True) - TIE * logits.std()
        return int(equal.sum()), equal.size

    def answer(self, outputs: Outputs) -> Array:
        return outputs["logits"][0].argmax(axis=0)


class Classes(Logits):
    """Of a ``Classifier``."""

    metric = "top-1"

    def score(self, answers: Sequence[Any], samples: Sequence[Sample]) -> float:
        pairs = zip(answers, samples, strict=True)
        return float(np.mean([int(answer) == int(sample.target) for answer, sample in pairs]))


class Masks(Logits):
    """Of a ``Segmenter``; pixels without a class do not count in the score."""

    metric = "pixel accuracy"

    def score(self, answers: Sequence[Any], samples: Sequence[Sample]) -> float:
        right = known = 0
        for answer, sample in zip(answers, samples, strict=True):
            labelled = sample.target != IGNORED
            right += int((answer == sample.target)[labelled].sum())
            known += int(labelled.sum())
        return right / max(1, known)


class Boxes:
    """Of a ``Detector``: raw ``boxes`` (1, A, 4) and ``scores`` (1, A, K), or with ``labels`` the detections."""

    metric = "mAP"

    def __init__(self, network: Detector) -> None:
        self.network = network

    @torch.inference_mode()
    def published(self, image: Array) -> Outputs:
        outputs = self.network(torch.from_numpy(image))
        logits, size = outputs["cls_logits"], image.shape[-2:]
        scores = (logits.sigmoid() if self.network.loss == "focal" else logits.softmax(dim=-1))[..., 1:]
        boxes = self.network.box_coder.decode_single(outputs["bbox_regression"][0], outputs["anchors"])
        best = self.network.detect(outputs, size)[0]
        raw = {"boxes": clip_boxes_to_image(boxes, size)[None].numpy(), "scores": scores.numpy()}
        return raw | {f"best_{name}": value.numpy() for name, value in best.items()}

    def difference(self, expected: Outputs, found: Outputs) -> dict[str, float]:
        if "labels" not in found:
            return largest({name: expected[name] for name in ("boxes", "scores")}, found)
        mine, theirs = detections(expected), detections(found)
        pairs = [pair for pair in enumerate(matches(mine, theirs)) if pair[1] >= 0]
        rows, others = np.array(pairs, np.int64).reshape(-1, 2).T
        return largest(
            {name: mine[name][rows] for name in ("boxes", "scores")},
            {name: theirs[name][others] for name in ("boxes", "scores")},
        )

    def agreement(self, expected: Outputs, found: Outputs, least: float) -> tuple[int, int]:
        mine, theirs = detections(expected), detections(found)
        equal = total = 0
        for some, others in ((mine, theirs), (theirs, mine)):
            counted = some["scores"] >= least
            equal += int((matches(some, others) >= 0)[counted].sum())
            total += int(counted.sum())
        return equal, total

    def answer(self, outputs: Outputs) -> Outputs:
        return detections(outputs)

    def score(self, answers: Sequence[Any], samples: Sequence[Sample]) -> float:
        pairs = []
        for answer, sample in zip(answers, samples, strict=True):
            best = {name: torch.from_numpy(value) for name, value in answer.items()}
            height, width = (side / sample.image.shape[-1] for side in sample.target["size"])
            best["boxes"] = best["boxes"] * torch.tensor([width, height, width, height])
            pairs.append((best, truth(sample.target)))
        precision: Tensor = measured(pairs)["map"]
        return max(0.0, float(precision))


def largest(expected: Outputs, found: Outputs) -> dict[str, float]:
    """The largest difference of each output; infinite where the shapes differ or a value is no number."""
    worst = {}
    for name, value in expected.items():
        equal = name in found and found[name].shape == value.shape and bool(np.isfinite(found[name]).all())
        worst[name] = float(np.abs(found[name] - value).max(initial=0)) if equal else float("inf")
    return worst


def detections(outputs: Outputs) -> Outputs:
    """``boxes`` (M, 4), ``scores`` (M,) and ``labels`` (M,): of the network, from a file, or by ``detect``."""
    names = ("boxes", "scores", "labels")
    if "best_labels" in outputs:
        return {name: outputs[f"best_{name}"] for name in names}
    if "labels" in outputs:
        return {name: outputs[name] for name in names}
    return detect(outputs["boxes"][0], outputs["scores"][0])


def matches(some: Outputs, others: Outputs) -> Array:
    """For each of some detections, which of the others is the same; -1 for none. Each is taken once."""
    found = np.full(len(some["labels"]), -1)
    areas = (others["boxes"][:, 2:] - others["boxes"][:, :2]).prod(axis=1)
    free = np.ones(len(areas), bool)
    for index, (box, label) in enumerate(zip(some["boxes"], some["labels"], strict=True)):
        ratio = overlaps(box, (box[2:] - box[:2]).prod(), others["boxes"], areas)
        ratio = np.where(np.abs(others["boxes"] - box).max(axis=1, initial=0) < EQUAL, 1, ratio)  # also without area
        ratio = np.where(free & (others["labels"] == label), ratio, 0)
        if len(ratio) and np.nanmax(ratio) >= SAME:
            found[index] = np.nanargmax(ratio)
            free[found[index]] = False
    return found
