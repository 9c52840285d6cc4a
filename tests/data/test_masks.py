"""Data sets of masks give class indices, never colours, and 255 where nothing is to be learnt."""

import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from dotcom.annotations import folders
from dotcom.data.masks import image_masks, voc
from dotcom.errors import UsageError
from files import make_masks, make_voc, save_mask, stripes


def unchanged(image, mask):
    return image, mask


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")
    return make_masks(tmp_path)


def own(root, split="train", num_classes=3):
    return image_masks(split=split, transform=unchanged, root=str(root), num_classes=num_classes)


def test_samples__are_tv_tensors_of_one_size(root):
    dataset = own(root)
    image, mask = dataset[1]
    assert isinstance(image, tv_tensors.Image)
    assert isinstance(mask, tv_tensors.Mask)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((3, 100, 75), torch.uint8, (100, 75), torch.uint8)
    assert mask[0].tolist() == mask[-1].tolist() == stripes(75, (0, 1, 2, 255)).tolist()
    assert dataset.classes == ["class 0", "class 1", "class 2"]
    assert (len(dataset), len(own(root, "val"))) == (4, 2)


def test_class_names__come_from_the_file(root):
    (root / "classes.txt").write_text("sky\nroad\ntree\n")
    assert own(root).classes == ["sky", "road", "tree"]


def test_voc__gives_indices_of_the_palette(tmp_path):
    dataset = voc(split="val", transform=unchanged, root=str(make_voc(tmp_path)))
    _, mask = dataset[0]
    assert mask[0].tolist() == stripes(90, (0, 12, 255)).tolist()
    assert (len(dataset.classes), dataset.classes[0], dataset.classes[12]) == (21, "background", "dog")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "train/images/0.jpg").write_text("no image"), r"train/images/0\.jpg"),
        (lambda root: (root / "train/masks/0.png").write_text("no"), r"its mask .*masks/0\.png cannot be read"),
        (lambda root: save_mask(root / "train/masks/0.png", 70, 90, (0, 1)), r"it is 90x70, but its mask .* is 70x90"),
        (
            lambda root: save_mask(root / "train/masks/0.png", 90, 70, (0, 7, 255)),
            r"its mask .*masks/0\.png holds the value 7, but there are 3 classes",
        ),
    ],
)
def test_samples_that_do_not_fit__are_skipped_and_named(root, damage, said):
    dataset = own(root)
    damage(root)
    with pytest.warns(UserWarning, match=rf"skipped unreadable image .*{said}"):
        assert dataset[0] is None
    assert dataset.skipped == [root / "train/images/0.jpg"]


def test_check__looks_at_every_mask_and_remembers_it(root, monkeypatch):
    dataset = own(root)
    dataset.check()
    monkeypatch.setattr("dotcom.data.masks.check_masks", None)  # would fail if it were asked again
    dataset.check()
    monkeypatch.undo()
    Image.new("L", (75, 100), 9).save(root / "train/masks/1.png")
    with pytest.raises(UsageError, match=r"1 of 4 masks .*train/masks/1\.png holds the value 9"):
        dataset.check()
