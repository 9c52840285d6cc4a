"""Detection learns, and measures what COCO measures, in pixels of the original images."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dotcom.data.batches import stack_readable
from dotcom.data.order import Share
from dotcom.models import Detector, DoTCoM
from dotcom.optim import constant
from dotcom.tasks import Detection
from dotcom.tasks.detection import without_crowd
from runs import ADAMW, trainer

SIDE = 128


class Fixed(nn.Module):
    """Finds the same box of class 1, in pixels of the images it is shown, in every one of them."""

    def __init__(self, box: list[float]) -> None:
        super().__init__()
        self.box = nn.Parameter(torch.tensor([box]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"count": torch.tensor(len(images))}

    def losses(self, outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        boxes = torch.cat([target["boxes"] for target in targets])
        return {"bbox_regression": boxes.sum(), "classification": torch.tensor(0.5)}

    def detect(self, outputs: dict[str, Tensor], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        found = {"boxes": self.box.detach(), "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.int64)}
        return [dict(found) for _ in range(int(outputs["count"]))]


def target(boxes: list[list[float]], labels: list[int], crowd: int = 0, **original: Any) -> dict[str, Any]:
    """A validation target of an image that is shown as it is, if ``original`` does not say otherwise."""
    corners = torch.tensor(boxes).reshape(-1, 4)
    numbers = torch.tensor(labels, dtype=torch.int64)
    whole = {"boxes": corners, "labels": numbers, "original": corners, "size": (SIDE, SIDE), "image_id": 1} | original
    sides = whole["original"][:, 2:] - whole["original"][:, :2]
    crowds = torch.tensor([0] * (len(boxes) - crowd) + [1] * crowd, dtype=torch.int64)
    return whole | {"area": sides.prod(dim=1), "iscrowd": crowds}


def samples() -> list[tuple[Tensor, dict[str, Any]]]:
    """Two images with three coloured squares; the colour is the class."""
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) / 5
    targets = [target([[10.0, 10, 60, 60], [70.0, 50, 120, 110]], [0, 1]), target([[40.0, 30, 100, 90]], [2])]
    for image, truth in zip(images, targets, strict=True):
        for (left, top, right, bottom), label in zip(truth["boxes"].int().tolist(), truth["labels"], strict=True):
            image[label, top:bottom, left:right] += 2
    return list(zip(images, targets, strict=True))


def loader(pairs: list[tuple[Tensor, dict[str, Any]]], batch_size: int = 2) -> DataLoader:
    return DataLoader(pairs, batch_size, collate_fn=stack_readable)


def blank(*targets: dict[str, Any], size: tuple[int, int] = (SIDE, SIDE)) -> list[tuple[Tensor, dict[str, Any]]]:
    return [(torch.zeros(3, *size), one) for one in targets]


@pytest.fixture
def detector(backbone: DoTCoM) -> Detector:
    return Detector(backbone, num_classes=3)


def test_training__learns_a_batch_by_heart_and_finds_its_objects(detector, tmp_path):
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # a training as short as this leaves no time for less
    losses = []
    for epochs in (1, 50):
        run = trainer(tmp_path, max_epochs=epochs, check_val_every_n_epoch=epochs, limit_val_batches=int(epochs > 1))
        run.fit(Detection(detector, ADAMW, constant), loader(samples()), loader(samples()))
        losses.append(run.callback_metrics["train/loss"].item())
    assert losses[1] < losses[0] / 20
    assert run.callback_metrics["val/map_50"] > 0.9


def test_boxes__are_compared_in_pixels_of_the_original(tmp_path):
    network = Fixed([16.0, 0.0, 48.0, 32.0])
    original = torch.tensor([[25.0, 0.0, 75.0, 25.0]])
    shown = target([[16.0, 0.0, 48.0, 32.0]], [1], original=original, size=(50, 100))
    pairs = blank(shown, size=(64, 64))
    (scores,) = trainer(tmp_path).validate(Detection(network, ADAMW, constant), loader(pairs), verbose=False)
    assert scores["val/map"] == scores["val/map_75"] == pytest.approx(1)
    assert scores["val/map_medium"] == pytest.approx(1)  # 1250 px^2; 1024 as shown would be at the border
    assert "val/map_large" not in scores
    (found,) = Detection(network, ADAMW, constant).validation_step(stack_readable(pairs), 0)
    assert torch.equal(found["boxes"], original)


def test_crowds__are_left_out_of_the_validation_loss(detector, tmp_path):
    boxes, labels = [[10.0, 10, 60, 60], [70.0, 50, 120, 110], [0.0, 0, 128, 128]], [0, 1, 2]
    with_crowd, without = (
        trainer(tmp_path).validate(Detection(detector, ADAMW, constant), loader(blank(one)), verbose=False)[0]
        for one in (target(boxes, labels, crowd=1), target(boxes[:2], labels[:2]))
    )
    assert with_crowd["val/loss"] == without["val/loss"]
    counted = target(boxes, labels)
    (scores,) = trainer(tmp_path).validate(Detection(detector, ADAMW, constant), loader(blank(counted)), verbose=False)
    assert scores["val/loss"] != without["val/loss"]


def test_crowds__are_neither_missed_nor_wrong(tmp_path):
    learner = Detection(Fixed([10.0, 10.0, 60.0, 60.0]), ADAMW, constant)
    pairs = blank(target([[10.0, 10, 60, 60]], [1]), target([[0.0, 0, 128, 128]], [1], crowd=1))
    (scores,) = trainer(tmp_path).validate(learner, loader(pairs), verbose=False)
    assert scores["val/map"] == pytest.approx(1)


def test_loss__is_the_sum_of_both_in_training_and_validation(detector, tmp_path):
    images, targets = stack_readable(samples())
    detector.eval()
    with torch.no_grad():
        expected = sum(detector.losses(detector(images), list(map(without_crowd, targets))).values())
    (scores,) = trainer(tmp_path).validate(Detection(detector, ADAMW, constant), loader(samples()), verbose=False)
    assert scores["val/loss"] == pytest.approx(expected.item(), rel=1e-4)
    run = trainer(tmp_path)
    run.fit(Detection(detector, ADAMW, constant), loader(samples()))
    logged = run.callback_metrics
    parts = logged["train/bbox_regression"] + logged["train/classification"]
    assert logged["train/loss"].item() == pytest.approx(parts.item())


def test_validation_loss__weighs_a_smaller_last_batch_by_its_size(tmp_path):
    learner = Detection(Fixed([0.0, 0.0, 8.0, 8.0]), ADAMW, constant)
    pairs = blank(*(target([[0.0, 0.0, side, side]], [1]) for side in (1.0, 2.0, 9.0)))
    (scores,) = trainer(tmp_path).validate(learner, loader(pairs), verbose=False)
    assert scores["val/loss"] == pytest.approx(((1 + 1 + 2 + 2 + 0.5) * 2 + 9 + 9 + 0.5) / 3)


def test_metric__is_that_of_all_processes_with_unequal_shares(tmp_path):
    pairs = blank(*(target([[10.0, 10, 60, 50 + 9 * number]], [1]) for number in range(3)))
    learners = [Detection(Fixed([10.0, 10.0, 60.0, 60.0]), ADAMW, constant) for _ in range(2)]
    (alone,) = trainer(tmp_path).validate(learners[0], loader(pairs, 1), verbose=False)
    two = trainer(tmp_path, strategy="ddp_spawn", devices=2, use_distributed_sampler=False)
    (shared,) = two.validate(learners[1], Shared(pairs), verbose=False)
    assert 0 < alone["val/map"] < 1
    assert shared["val/map"] == pytest.approx(alone["val/map"], abs=1e-7)


class Shared(L.LightningDataModule):
    """Two of three images for the first process, one for the second."""

    def __init__(self, pairs: list[tuple[Tensor, dict[str, Any]]]) -> None:
        super().__init__()
        self.pairs = pairs
        self.classes: list[str] = []

    def val_dataloader(self) -> DataLoader:
        share = Share(len(self.pairs), self.trainer.global_rank, self.trainer.world_size)
        return DataLoader(self.pairs, 1, sampler=share, collate_fn=stack_readable)


def test_ema__is_measured_beside_the_network(detector, tmp_path):
    run = trainer(tmp_path, max_epochs=2)
    run.fit(Detection(detector, ADAMW, constant, ema=0.5), loader(samples()), loader(samples()))
    names = {f"{network}/{score}" for network in ("val", "val_ema") for score in ("loss", "map", "map_50", "map_75")}
    assert names <= set(run.callback_metrics)
    assert run.callback_metrics["val/loss"] != run.callback_metrics["val_ema/loss"]


def test_bfloat16__trains_and_measures(detector, tmp_path):
    run = trainer(tmp_path, precision="bf16-mixed")
    run.fit(Detection(detector, ADAMW, constant), loader(samples()), loader(samples()))
    assert all(run.callback_metrics[name].isfinite() for name in ("train/loss", "val/loss", "val/map"))


def test_images_without_objects__have_no_map_but_a_loss(detector, tmp_path):
    pairs = blank(target([], []), target([], []))
    (scores,) = trainer(tmp_path).validate(Detection(detector, ADAMW, constant), loader(pairs), verbose=False)
    assert set(scores) == {"val/loss"}
