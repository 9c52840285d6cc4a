"""Data sets of boxes give what the tasks were promised: pixels, labels from 0 on, and nothing lost on the way."""

import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from dotcom.data.boxes import coco_format, voc_detection
from files import make_coco, make_voc

SPLITS = {"images": {"train": "train", "val": "val"}, "annotations": {"train": "train.json", "val": "val.json"}}


def unchanged(image, target):
    return image, target


def coco(parent, split, transform=unchanged):
    return coco_format(split=split, transform=transform, root=str(make_coco(parent)), **SPLITS)


def test_train_samples__are_tv_tensors_without_crowds(tmp_path):
    dataset = coco(tmp_path, "train")
    image, target = dataset[0]
    assert isinstance(image, tv_tensors.Image)
    assert (image.shape, image.dtype) == ((3, 70, 90), torch.uint8)
    assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
    assert target["boxes"].format is tv_tensors.BoundingBoxFormat.XYXY
    assert target["boxes"].canvas_size == (70, 90)
    assert target["boxes"].dtype == torch.float32
    assert target["boxes"].tolist() == [[10, 8, 40, 28], [5.5, 30, 45.5, 55]]
    assert (target["labels"].tolist(), target["labels"].dtype) == ([1, 0], torch.int64)
    assert set(target) == {"boxes", "labels"}
    assert (dataset.classes, dataset.category_ids, len(dataset)) == (["cat", "dog"], [3, 7], 4)


def test_images_without_objects__are_samples_without_boxes(tmp_path):
    _, target = coco(tmp_path, "train")[3]
    assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))


def test_val_samples__carry_what_the_evaluation_needs(tmp_path):
    root = make_coco(tmp_path)
    halve = v2.Resize((30, 40))
    _, target = coco_format(split="val", transform=halve, root=str(root), **SPLITS)[1]
    assert target["boxes"].tolist()[0] == pytest.approx([10 / 70 * 40, 8 / 105 * 30, 40 / 70 * 40, 28 / 105 * 30])
    assert type(target["original"]) is torch.Tensor
    assert target["original"].tolist() == [[10, 8, 40, 28], [5.5, 30, 45.5, 55]]
    assert (target["size"], target["image_id"]) == ((105, 70), 20)
    assert (target["area"].tolist(), target["area"].dtype) == ([300, 500], torch.float32)
    _, first = coco_format(split="val", transform=halve, root=str(root), **SPLITS)[0]
    assert (first["iscrowd"].tolist(), first["iscrowd"].dtype) == ([0, 0, 1], torch.int64)
    assert first["boxes"].shape == first["original"].shape == (3, 4)


def test_samples__can_be_changed_without_changing_the_data_set(tmp_path):
    dataset = coco(tmp_path, "val")
    for value in dataset[1][1].values():
        if isinstance(value, torch.Tensor):
            value.zero_()
    _, target = dataset[1]
    assert target["boxes"].tolist() == target["original"].tolist() == [[10, 8, 40, 28], [5.5, 30, 45.5, 55]]
    assert target["labels"].tolist() == [1, 0]


def test_unreadable_photos__are_skipped_and_named(tmp_path):
    dataset = coco(tmp_path, "val")
    dataset.paths[0].write_text("no image")
    with pytest.warns(UserWarning, match=r"skipped unreadable image .*val/001\.jpg"):
        assert dataset[0] is None
    assert dataset.skipped == dataset.paths[:1]


def test_photos_of_another_size__are_skipped_because_the_boxes_would_be_elsewhere(tmp_path):
    dataset = coco(tmp_path, "val")
    Image.new("RGB", (30, 20)).save(dataset.paths[1])
    with pytest.warns(UserWarning, match=r"002\.jpg: it is 30x20, but its annotation is for 70x105"):
        assert dataset[1] is None


def test_voc__leaves_difficult_objects_to_the_evaluation(tmp_path):
    root = make_voc(tmp_path)
    difficult = root / "VOC2007/Annotations/000001.xml"
    difficult.write_text(difficult.read_text().replace("<difficult>0", "<difficult>1"))
    train, val = (voc_detection(split=split, transform=unchanged, root=str(root)) for split in ("train", "val"))
    assert [len(train[index][1]["labels"]) for index in range(4)] == [1, 1, 1, 0]
    _, target = val[0]
    assert target["iscrowd"].tolist() == [1]
    assert target["boxes"].tolist() == target["original"].tolist() == [[0, 10, 40, 50]]
    assert (target["area"].tolist(), target["image_id"], val.classes[target["labels"]]) == ([1600], 1, "dog")


def test_voc__numbers_photos_by_their_id(tmp_path):
    dataset = voc_detection(split="train", transform=unchanged, root=str(make_voc(tmp_path)))
    assert dataset.image_ids.tolist() == [5, 7, 2007000027, 2008000032]
