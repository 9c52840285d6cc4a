"""The metric of a Detection is COCO's own: the same numbers as pycocotools, whatever the images hold."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from dotcom.tasks.detection import SUMMARY, average_precisions, mean_average_precision, truth

CLASSES = ["cat", "dog", "bird", "fish"]  # fish is never there
IMAGES = 40
SIZES = (8.0, 20.0, 45.0, 80.0, 110.0, 180.0)  # pixels; small, medium and large by COCO's areas


def made_truth(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Up to seven objects, some of them crowds; every eighth image has none."""
    count = 0 if number % 8 == 3 else int(rng.integers(1, 8))
    corner = rng.uniform(0, 300, (count, 2))
    sides = rng.choice(SIZES, (count, 1)) * rng.uniform(0.7, 1.4, (count, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + sides], axis=1), dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": boxes / 2,  # as shown; nothing may be measured in these
        "original": boxes,
        "labels": torch.tensor(rng.integers(0, 3, count)),
        "iscrowd": torch.tensor((rng.random(count) < 0.15).astype(np.int64)),
        "area": torch.tensor(sides.prod(axis=1) * rng.uniform(0.4, 1, count), dtype=torch.float32),
        "size": (500, 500),
        "image_id": 100 + number,
    }


def made_detections(rng: np.random.Generator, target: dict[str, Any], number: int) -> dict[str, Tensor]:
    """Most objects, some twice, some as another class, more or less precisely, and boxes where nothing is."""
    if number % 10 == 7:
        return {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    boxes, labels = target["original"].numpy(), target["labels"].numpy()
    picked = rng.permutation(np.repeat(np.arange(len(boxes)), rng.choice([0, 1, 1, 2], len(boxes))))
    sides = np.tile(boxes[picked, 2:] - boxes[picked, :2], 2)
    close = boxes[picked] + sides * rng.normal(0, rng.choice([0.01, 0.05, 0.15], (len(picked), 1)), sides.shape)
    as_seen = np.where(rng.random(len(picked)) < 0.1, rng.integers(0, 3, len(picked)), labels[picked])
    corner = rng.uniform(0, 300, (4, 2))
    wrong = np.concatenate([corner, corner + rng.choice(SIZES, (4, 1))], axis=1)
    return {
        "boxes": torch.tensor(np.concatenate([close, wrong]), dtype=torch.float32),
        "scores": torch.tensor(rng.random(len(picked) + 4), dtype=torch.float32),
        "labels": torch.tensor(np.concatenate([as_seen, rng.integers(0, 3, 4)])),
    }


def bboxes(corners: Tensor) -> list[list[float]]:
    """As x y width height."""
    return torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()


def pycocotools(targets: list[dict[str, Any]], detections: list[dict[str, Tensor]]) -> COCOeval:
    annotations, results = [], []
    for target, found in zip(targets, detections, strict=True):
        image = {"image_id": target["image_id"]}
        columns = (target[key].tolist() for key in ("labels", "iscrowd", "area"))
        for bbox, label, crowd, area in zip(bboxes(target["original"]), *columns, strict=True):
            numbers = {"id": len(annotations) + 1, "category_id": label, "iscrowd": crowd, "area": area}
            annotations.append(image | numbers | {"bbox": bbox})
        columns = (found[key].tolist() for key in ("labels", "scores"))
        for bbox, label, score in zip(bboxes(found["boxes"]), *columns, strict=True):
            results.append(image | {"category_id": label, "bbox": bbox, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": target["image_id"]} for target in targets],
            "categories": [{"id": label} for label in range(len(CLASSES))],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.fixture(scope="module", params=[0, 1])
def scene(request) -> tuple[list[dict[str, Any]], list[dict[str, Tensor]]]:
    rng = np.random.default_rng(request.param)
    targets = [made_truth(rng, number) for number in range(IMAGES)]
    return targets, [made_detections(rng, target, number) for number, target in enumerate(targets)]


def measured(targets: list[dict[str, Any]], detections: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    metric = mean_average_precision()
    for start in range(0, IMAGES, 7):  # in batches, as in a validation
        batch = slice(start, start + 7)
        metric.update(detections[batch], [truth(target) for target in targets[batch]])
    return metric.compute()


def test_scene__holds_every_case(scene):
    targets, detections = scene
    areas, crowds = (torch.cat([target[key] for target in targets]) for key in ("area", "iscrowd"))
    assert all(((areas > low) & (areas < high)).any() for low, high in ((0, 32**2), (32**2, 96**2), (96**2, 1e9)))
    assert crowds.any()
    assert any(len(target["labels"]) == 0 for target in targets)
    assert any(len(found["labels"]) == 0 for found in detections)
    assert any(len(found["labels"]) > 0 == len(target["labels"]) for target, found in zip(*scene, strict=True))


def test_summary__equals_that_of_pycocotools(scene):
    result, expected = measured(*scene), pycocotools(*scene).stats[:6].tolist()
    assert [float(result[key]) for key in SUMMARY] == pytest.approx(expected, abs=1e-6)
    assert all(0.1 < value < 0.95 for value in expected)


def test_classes__have_the_average_precision_of_pycocotools(scene):
    precision = pycocotools(*scene).eval["precision"]
    ours = average_precisions(measured(*scene), CLASSES)
    assert list(ours) == CLASSES[:3]
    for index, label in enumerate(CLASSES[:3]):
        assert ours[label]["AP"] == pytest.approx(precision[:, :, index, 0, 2].mean(), abs=1e-6)
        assert ours[label]["AP50"] == pytest.approx(precision[0, :, index, 0, 2].mean(), abs=1e-6)


def test_classes__that_were_only_detected_have_no_average_precision():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    box = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    metric = mean_average_precision()
    found = {"boxes": box.repeat(2, 1), "scores": torch.ones(2), "labels": torch.tensor([3, 1])}
    metric.update([found, found], [nothing, {"boxes": box, "labels": torch.tensor([1])}])
    assert list(average_precisions(metric.compute(), CLASSES)) == ["dog"]


def test_classes__without_names_are_numbers(scene):
    assert list(average_precisions(measured(*scene), [])) == ["0", "1", "2"]
