"""Images of training come in the sizes that were asked for, with boxes and masks to match, in every process alike."""

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dotcom.data import DataModule
from dotcom.data.sizes import Sizes, resized
from runs import trainer


class Photos(Dataset):
    """Eight grey images of 96 pixels."""

    classes = ("a", "b")

    def __init__(self, split: str, transform) -> None:
        self.split = split

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        return torch.full((3, 96, 96), index, dtype=torch.uint8), index % 2


class Watching(L.LightningModule):
    """Notes the size of every batch that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[int]] = {"train": [], "val": []}

    def training_step(self, batch, batch_idx):
        self.seen["train"].append(batch[0].shape[-1])
        return self.weight * batch[0].mean()

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append(batch[0].shape[-1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def watched(tmp_path, epochs: int = 4, **sizes) -> dict[str, list[int]]:
    data = DataModule(Photos, None, None, num_classes=2, batch_size=2, num_workers=0, **sizes)
    learner = Watching()
    trainer(tmp_path, max_epochs=epochs, use_distributed_sampler=False).fit(learner, data)
    return learner.seen


def test_nothing_asked_for__shows_images_as_they_come(tmp_path):
    assert watched(tmp_path, 1) == {"train": [96] * 4, "val": [96] * 4}


def test_progressive__rises_by_epochs_and_validates_in_full_size(tmp_path):
    seen = watched(tmp_path, progressive=32, progressive_until=0.5)
    assert seen["train"] == [32] * 4 + [64] * 4 + [96] * 8
    assert set(seen["val"]) == {96}


def test_multi_scale__draws_what_sizes_say_for_epoch_and_batch(tmp_path):
    choices = [32, 64, 128]
    seen = watched(tmp_path, multi_scale=choices, seed=3)
    sizes = Sizes(choices, seed=3)
    assert seen["train"] == [sizes.of(epoch, batch, 4, 96) for epoch in range(4) for batch in range(4)]
    assert set(seen["train"]) == set(choices)
    assert set(seen["val"]) == {96}


def test_sizes__follow_from_seed_epoch_and_batch_alone():
    def drawn(seed: int) -> list[int]:
        np.random.default_rng(0)
        torch.rand(seed + 1)
        return [Sizes([32, 64], seed=seed).of(epoch, batch, 9, 64) for epoch in range(3) for batch in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1)[:20] != drawn(1)[20:40]
    assert 20 < sum(size == 32 for size in drawn(1)) < 40


@pytest.mark.parametrize(
    ("first", "until", "epochs", "expected"),
    [
        (32, 0.5, 4, [32, 32, 64, 64]),
        (64, 1.0, 4, [64, 64, 64, 64]),
        (32, 0.75, 8, [32, 32, 32, 32, 32, 32, 64, 64]),
        (32, 0.1, 2, [32, 64]),
        (None, 0.5, 2, [64, 64]),
    ],
)
def test_progressive__reaches_full_size_when_it_says(first, until, epochs, expected):
    sizes = Sizes(first=first, until=until)
    assert [sizes.of(epoch, 0, epochs, 64) for epoch in range(epochs)] == expected


def test_progressive__shares_the_epochs_among_all_steps():
    sizes = Sizes(first=128, until=0.5)
    assert [sizes.rising(epoch, 16, 256) for epoch in range(16)] == [128, 128, 160, 160, 192, 192, 224, 224] + [256] * 8


def test_both__draw_among_the_sizes_up_to_that_of_the_epoch():
    sizes = Sizes([64, 128, 160], first=64, until=0.5)
    drawn = {epoch: {sizes.of(epoch, batch, 4, 128) for batch in range(50)} for epoch in range(4)}
    assert drawn == {0: {64}, 1: {64}, 2: {64, 128, 160}, 3: {64, 128, 160}}
    assert Sizes([128], first=64, until=0.5).of(0, 0, 4, 128) == 64


@pytest.mark.parametrize("settings", [{"drawn": [32, 50]}, {"drawn": [0]}, {"first": 33}, {"first": -32}])
def test_sizes__refuse_what_a_network_cannot_take(settings):
    with pytest.raises(ValueError, match="must be multiples of 32"):
        Sizes(**settings)


def test_resized__moves_boxes_with_the_image():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 16:32, 32:64] = 1.0
    boxes = {"boxes": torch.tensor([[32.0, 16.0, 64.0, 32.0]]), "labels": torch.tensor([1])}
    images, (target,) = resized(image, [boxes], 128)
    x1, y1, x2, y2 = target["boxes"][0].int().tolist()
    assert (x1, y1, x2, y2) == (64, 32, 128, 64)
    assert images[0, 0, y1 + 2 : y2 - 2, x1 + 2 : x2].min() == 1.0
    assert images.sum() == pytest.approx(4 * image.sum().item(), rel=0.05)
    assert torch.equal(boxes["boxes"], torch.tensor([[32.0, 16.0, 64.0, 32.0]]))  # that of the data set stays
    assert torch.equal(target["labels"], boxes["labels"])
    _, (none,) = resized(image, [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}], 32)
    assert none["boxes"].shape == (0, 4)


def test_resized__keeps_the_values_of_masks():
    masks = torch.tensor([0, 255, 7, 1], dtype=torch.uint8).repeat_interleave(16).expand(2, 64, 64).contiguous()
    images, smaller = resized(torch.rand(2, 3, 64, 64), masks, 32)
    assert images.shape == (2, 3, 32, 32)
    assert smaller.dtype == torch.uint8
    assert torch.equal(smaller, masks[:, ::2, ::2])


def test_resized__leaves_labels_and_equal_sizes_alone():
    images, labels = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
    same, untouched = resized(images, labels, 64)
    assert same is images
    assert untouched is labels
    assert resized(images, labels, 32)[1] is labels
    blended = torch.rand(2, 5)
    assert resized(images, blended, 32)[1] is blended
