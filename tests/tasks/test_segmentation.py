"""Segmentation learns, and counts pixels over the whole split before it divides."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dotcom.models import DoTCoM, Segmenter
from dotcom.optim import constant
from dotcom.tasks import Segmentation
from dotcom.tasks.segmentation import intersection_over_union
from runs import ADAMW, trainer


class Fixed(nn.Module):
    """Takes images (B, K, H, W) for the logits of K classes; three times these are the auxiliary logits."""

    def __init__(self, auxiliary: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.auxiliary = auxiliary

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits = images * self.scale
        return (logits, 3 * logits) if self.auxiliary else logits

    def segment(self, images: Tensor) -> Tensor:
        return images * self.scale


def task(model: nn.Module, num_classes: int = 4, **settings) -> Segmentation:
    return Segmentation(model, ADAMW, constant, num_classes=num_classes, **settings)


def batches() -> list[tuple[Tensor, Tensor]]:
    """Logits and masks of three sizes; class 3 is neither seen nor there, 2 is rare, a tenth of the pixels is 255."""
    rng = torch.Generator().manual_seed(0)
    made = []
    for size, rarest in (((2, 33, 47), 2), ((1, 70, 20), 3), ((3, 16, 16), 2)):
        logits = torch.randn(size[0], 4, *size[1:], generator=rng)
        logits[:, 3] = -20
        masks = torch.randint(0, rarest, size, generator=rng).to(torch.uint8)
        masks[torch.rand(size, generator=rng) < 0.1] = 255
        logits.scatter_add_(1, masks.where(masks < 255, 0).long()[:, None], torch.full((size[0], 1, *size[1:]), 1.0))
        made.append((logits, masks))
    return made


def confusion(pairs: list[tuple[Tensor, Tensor]]) -> np.ndarray:
    """Pixels by class and by predicted class, worked out without torch."""
    counts = np.zeros((4, 4), np.int64)
    for logits, masks in pairs:
        seen, there = logits.numpy().argmax(axis=1), masks.numpy()
        valid = there != 255
        np.add.at(counts, (there[valid], seen[valid]), 1)
    return counts


def ious(counts: np.ndarray) -> list[float]:
    """Per class; NaN where there is none."""
    union = counts.sum(axis=0) + counts.sum(axis=1) - counts.diagonal()
    return [right / all_ if all_ else math.nan for right, all_ in zip(counts.diagonal(), union, strict=True)]


def valid_pixels(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and classes (N,) of all pixels that are not 255."""
    logits = torch.cat([logits.movedim(1, -1).flatten(0, 2) for logits, _ in pairs])
    classes = torch.cat([masks.flatten() for _, masks in pairs]).long()
    return logits[classes != 255], classes[classes != 255]


def validated(tmp_path, learner: Segmentation, pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    (scores,) = trainer(tmp_path).validate(learner, DataLoader(pairs, batch_size=None), verbose=False)
    return scores


def trained(tmp_path, learner: Segmentation, pairs: list[tuple[Tensor, Tensor]]) -> float:
    """The loss of the first step, before anything is learnt."""
    run = trainer(tmp_path)
    run.fit(learner, DataLoader(pairs[:1], batch_size=None))
    return run.callback_metrics["train/loss"].item()


def test_training__learns_a_batch_by_heart(backbone: DoTCoM, tmp_path):
    model = Segmenter(backbone, num_classes=3, auxiliary=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # a training as short as this leaves no time for less
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, :, 32:], masks[1, 32:], masks[:, :4] = 1, 2, 255
    images += F.one_hot(masks.where(masks < 255, 0).long(), 3).movedim(-1, 1)
    pairs = DataLoader([(images, masks)], batch_size=None)
    losses = []
    for epochs in (1, 40):
        run = trainer(tmp_path, max_epochs=epochs, check_val_every_n_epoch=epochs)
        run.fit(task(model, 3), pairs, pairs)
        losses.append(run.callback_metrics["train/loss"].item())
    assert losses[1] < losses[0] / 4
    assert run.callback_metrics["val/miou"] > 0.8


def test_metrics__equal_a_confusion_matrix_over_the_whole_split(tmp_path):
    learner, pairs = task(Fixed()), batches()
    scores, counts = validated(tmp_path, learner, pairs), confusion(pairs)
    expected = ious(counts)
    assert scores["val/miou"] == pytest.approx(np.nanmean(expected), abs=1e-6)
    assert scores["val/pixel_accuracy"] == pytest.approx(counts.trace() / counts.sum(), abs=1e-6)
    assert learner.per_class == {
        name: {"IoU": pytest.approx(iou, abs=1e-6)} for name, iou in zip("012", expected[:3], strict=True)
    }
    assert math.isnan(expected[3])
    apart = [np.nanmean(ious(confusion([pair]))) for pair in pairs]
    assert abs(np.mean(apart) - np.nanmean(expected)) > 0.01  # the mean of the batches would be another number


def test_classes__seen_but_not_there_count_as_wrong(tmp_path):
    pairs = [(torch.eye(4)[:, None, [0, 0, 3, 1]][None], torch.tensor([[[0, 0, 0, 255]]], dtype=torch.uint8))]
    learner = task(Fixed())
    assert validated(tmp_path, learner, pairs)["val/miou"] == pytest.approx((2 / 3 + 0) / 2)
    assert set(learner.per_class) == {"0", "3"}  # 1 was seen where nobody knows what is


def test_iou__divides_billions_of_pixels_in_float32_which_every_device_has():
    found = intersection_over_union(torch.tensor([[3_000_000_001, 1_000_000_000], [0, 0]]))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([3 / 4, 0])


def test_validations__start_counting_anew(tmp_path):
    learner, (first, second, _) = task(Fixed()), batches()
    assert validated(tmp_path, learner, [first]) != validated(tmp_path, learner, [second])
    assert validated(tmp_path, learner, [first]) == validated(tmp_path, task(Fixed()), [first])


def test_validation_loss__is_the_mean_over_the_pixels_of_the_split(tmp_path):
    pairs = batches()
    expected = F.cross_entropy(*valid_pixels(pairs)).item()
    assert validated(tmp_path, task(Fixed()), pairs)["val/loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("settings", [{"class_weights": [1, 5, 0.2, 1]}, {"label_smoothing": 0.3}])
def test_class_weights_and_label_smoothing__are_of_the_training_loss_only(tmp_path, settings):
    pairs = batches()
    plain, other = task(Fixed()), task(Fixed(), **settings)
    assert validated(tmp_path, plain, pairs) == validated(tmp_path, other, pairs)
    weights = torch.tensor(settings.get("class_weights", [1.0] * 4), dtype=torch.float32)
    smoothing = settings.get("label_smoothing", 0.0)
    expected = F.cross_entropy(*valid_pixels(pairs[:1]), weight=weights, label_smoothing=smoothing).item()
    assert trained(tmp_path, other, pairs) == pytest.approx(expected, rel=1e-5)
    assert trained(tmp_path, plain, pairs) != pytest.approx(expected, rel=1e-2)


def test_class_weights__are_no_part_of_a_checkpoint():
    assert task(Fixed(), class_weights=[1, 2, 3, 4]).state_dict().keys() == task(Fixed()).state_dict().keys()


def test_class_weights__are_one_for_each_class():
    with pytest.raises(ValueError, match=r"class_weights: expected 4 numbers, one for each class, got \[1, 2\]"):
        task(Fixed(), class_weights=[1, 2])


def test_auxiliary_loss__counts_four_tenths(tmp_path):
    pairs = batches()
    logits, classes = valid_pixels(pairs[:1])
    expected = F.cross_entropy(logits, classes) + 0.4 * F.cross_entropy(3 * logits, classes)
    assert trained(tmp_path, task(Fixed(auxiliary=True)), pairs) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"class_weights": [1, 5, 0.2, 1]}])
def test_batches__of_255_alone_have_no_loss_and_leave_the_weights_finite(tmp_path, settings):
    learner, (logits, masks) = task(Fixed(), **settings), batches()[0]
    assert trained(tmp_path, learner, [(logits, torch.full_like(masks, 255))]) == 0
    assert learner.model.scale.isfinite().all()


def test_ema__is_measured_beside_the_network(tmp_path):
    run = trainer(tmp_path, max_epochs=2)
    pairs = DataLoader(batches(), batch_size=None)
    run.fit(task(Fixed(), ema=0.5), pairs, pairs)
    names = {f"{network}/{score}" for network in ("val", "val_ema") for score in ("loss", "miou", "pixel_accuracy")}
    assert names <= set(run.callback_metrics)
    assert run.callback_metrics["val/loss"] != run.callback_metrics["val_ema/loss"]
