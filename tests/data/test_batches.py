"""Boxes and masks become batches: images stacked and normalised, boxes in a list, masks one by one."""

from functools import partial

import pytest
import torch

from dotcom.annotations import folders
from dotcom.data import (
    DataModule,
    augment_boxes,
    augment_masks,
    coco_format,
    image_masks,
    resize_boxes,
    whole_masks,
)
from dotcom.data.transforms import GREY
from files import make_coco, make_masks

SIDE = 64
FILES = {"images": {"train": "train", "val": "val"}, "annotations": {"train": "train.json", "val": "val.json"}}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")


@pytest.fixture
def make_boxes(tmp_path):
    root = str(make_coco(tmp_path))

    def make(**settings) -> DataModule:
        transforms = {"train_transform": augment_boxes(SIDE), "val_transform": resize_boxes(SIDE)}
        given = {"num_classes": 2, "batch_size": 4, "num_workers": 0, "root": root} | transforms | settings
        return DataModule(partial(coco_format, **FILES), **given)

    return make


@pytest.fixture
def make_class_masks(tmp_path):
    root = str(make_masks(tmp_path))

    def make(**settings) -> DataModule:
        transforms = {"train_transform": augment_masks(SIDE), "val_transform": whole_masks()}
        given = {"num_classes": 3, "batch_size": 4, "num_workers": 0, "root": root} | transforms | settings
        return DataModule(partial(image_masks, num_classes=3), **given)

    return make


def batches(data: DataModule, split: str) -> list:
    data.setup("fit")
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def test_boxes__are_a_list_of_dicts_beside_stacked_images(make_boxes):
    ((images, targets),) = batches(make_boxes(), "train")
    assert (images.shape, images.dtype) == ((4, 3, SIDE, SIDE), torch.float32)
    assert isinstance(targets, list)
    assert [set(target) for target in targets] == [{"boxes", "labels"}] * 4
    for target in targets:
        assert (target["boxes"].shape, target["labels"].dtype) == ((len(target["labels"]), 4), torch.int64)
        assert target["boxes"].numel() == 0 or 0 <= target["boxes"].min() <= target["boxes"].max() <= SIDE
    assert min(len(target["boxes"]) for target in targets) == 0  # the photo without objects is there too


def test_val_batch_size__is_that_of_validation_alone(make_boxes):
    data = make_boxes(batch_size=3, val_batch_size=1)
    assert [len(images) for images, _ in batches(data, "train")] == [3]
    assert [(len(images), len(targets)) for images, targets in batches(data, "val")] == [(1, 1), (1, 1)]
    assert [len(images) for images, _ in batches(make_boxes(batch_size=2), "val")] == [2]


def test_val_boxes__come_with_the_size_of_the_original(make_boxes):
    ((images, targets),) = batches(make_boxes(), "val")
    assert images.shape == (2, 3, SIDE, SIDE)
    assert [target["size"] for target in targets] == [(75, 95), (105, 70)]
    assert [target["image_id"] for target in targets] == [10, 20]


def test_batches_of_boxes__leave_out_what_cannot_be_read(make_boxes, tmp_path):
    (tmp_path / "coco/train/002.jpg").write_text("no image")
    with pytest.warns(UserWarning, match="skipped unreadable image"):
        ((images, targets),) = batches(make_boxes(), "train")
    assert len(images) == len(targets) == 3


def test_training_batches__of_one_sample_show_it_twice(make_boxes, tmp_path):
    """Batch norm cannot train on maps of one pixel and one sample."""
    for name in ("002", "003", "004"):
        (tmp_path / f"coco/train/{name}.jpg").write_text("no image")
    with pytest.warns(UserWarning, match="skipped unreadable image"):
        ((images, targets),) = batches(make_boxes(), "train")
    assert len(images) == len(targets) == 2
    assert torch.equal(images[0], images[1])
    assert [len(images) for images, _ in batches(make_boxes(batch_size=1), "val")] == [1, 1]


@pytest.mark.filterwarnings("ignore:skipped unreadable image")
def test_splits__without_one_readable_image_stop_the_run(make_boxes, tmp_path):
    for path in (tmp_path / "coco/train").iterdir():
        path.write_text("no image")
    with pytest.raises(ValueError, match="not one image of a split could be used"):
        batches(make_boxes(), "train")


def test_masks__are_stacked_in_training(make_class_masks):
    ((images, masks),) = batches(make_class_masks(), "train")
    assert (images.shape, images.dtype) == ((4, 3, SIDE, SIDE), torch.float32)
    assert (masks.shape, masks.dtype) == ((4, SIDE, SIDE), torch.uint8)
    assert set(masks.unique().tolist()) <= {0, 1, 2, 255}


def test_masks__keep_their_own_sizes_one_by_one_in_validation(make_class_masks):
    sizes = [(images.shape, masks.shape) for images, masks in batches(make_class_masks(val_batch_size=1), "val")]
    assert sizes == [((1, 3, 75, 95), (1, 75, 95)), ((1, 3, 105, 70), (1, 105, 70))]


def test_masks_of_several_sizes__are_refused_in_one_batch(make_class_masks):
    with pytest.raises(ValueError, match=r"^images of 2 sizes cannot stand in one batch; set data\.val_batch_size=1$"):
        batches(make_class_masks(val_batch_size=2), "val")


def test_padding__is_zero_once_normalised(make_class_masks):
    grey = torch.tensor(GREY, dtype=torch.uint8)[None, :, None, None]
    images, _ = make_class_masks().on_after_batch_transfer((grey, None), 0)
    assert images.abs().max() < 0.01  # half of one level of 255, over the deviation
