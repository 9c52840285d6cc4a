"""Masks are paired with their images, counted, and looked at; what does not fit is named in one line."""

import os
import shutil

import pytest
from PIL import Image

from dotcom.annotations import folders, masks
from dotcom.annotations.folders import spread
from dotcom.annotations.masks import class_names, mask_classes, read_masks
from dotcom.errors import UsageError
from files import make_masks, save_mask, save_photo


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")
    return make_masks(tmp_path)


def flat(parent, count):
    for number in range(count):
        save_photo(parent / "flat/images" / f"{number}.jpg", 90, 70)
        save_mask(parent / "flat/masks" / f"{number}.png", 90, 70, (0, 1, 2))
    return parent / "flat"


def test_splits__pair_images_with_masks_of_their_name(root):
    for split, count in (("train", 4), ("val", 2)):
        folder = root / split
        pairs = [(folder / "images" / f"{number}.jpg", folder / "masks" / f"{number}.png") for number in range(count)]
        assert read_masks(str(root), split) == pairs


def test_flat_folders__give_a_fixed_tenth_to_val_and_say_so(tmp_path):
    root = flat(tmp_path, 40)
    with pytest.warns(UserWarning, match=r"no folders train and val; \d of 40 images, chosen by a hash .*, are val"):
        train, val = (read_masks(str(root), split) for split in ("train", "val"))
    assert len(set(train) | set(val)) == len(train) + len(val) == 40
    assert 1 <= len(val) <= 10
    flat(tmp_path, 60)
    with pytest.warns(UserWarning, match="of 60 images"):
        assert set(val) <= set(read_masks(str(root), "val"))


def test_flat_folders__keep_one_image_for_each_split(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 images"):
        assert [len(read_masks(str(flat(tmp_path, 2)), split)) for split in ("train", "val")] == [1, 1]
    with pytest.raises(UsageError, match="there is only one image; expected two or more"):
        read_masks(str(flat(tmp_path / "one", 1)), "train")


def test_classes__are_the_values_without_255(root):
    assert mask_classes(str(root)) == 3
    assert class_names(str(root)) == []


def test_classes__are_remembered_until_a_mask_changes(root, monkeypatch):
    assert mask_classes(str(root)) == 3
    mask_classes.cache_clear()  # as in the next process
    monkeypatch.setattr(masks, "_counts_of", None)  # would fail if it were asked again
    assert mask_classes(str(root)) == 3
    mask_classes.cache_clear()
    os.utime(root / "train/masks/0.png", (0, 0))
    with pytest.raises(TypeError):
        mask_classes(str(root))


def test_classes__are_named_by_a_file(root):
    (root / "classes.txt").write_text("sky\nroad\ntree\nhouse\n\n")
    assert mask_classes(str(root)) == 4
    assert class_names(str(root)) == ["sky", "road", "tree", "house"]
    with pytest.raises(UsageError, match=r"data\.num_classes=5: .*classes\.txt has 4 names; expected one per class"):
        mask_classes(str(root), 5)


def test_classes__may_be_more_than_the_values(root):
    assert mask_classes(str(root), 7) == 7


@pytest.mark.parametrize("number", [1, 256, "many", 2.5])
def test_num_classes__is_a_whole_number_in_range(root, number):
    with pytest.raises(UsageError, match=rf"data\.num_classes={number}: expected a whole number from 2 to 255"):
        mask_classes(str(root), number)


def test_spread__reaches_from_the_first_to_the_last():
    assert spread(range(1000), 3) == [0, 500, 999]
    assert spread([1, 2], 64) == [1, 2]
    assert len(set(spread(range(65)))) == 64


def test_images__are_compared_upright(root):
    picture = Image.new("RGB", (40, 20))
    orientation = picture.getexif()
    orientation[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    picture.save(root / "train/images/0.jpg", exif=orientation)
    save_mask(root / "train/masks/0.png", 20, 40, (0, 1))
    assert mask_classes(str(root), 3) == 3


def refill(*values):
    """Every mask in these values alone."""

    def change(root) -> None:
        for path in root.glob("*/masks/*.png"):
            with Image.open(path) as mask:
                size = mask.size
            save_mask(path, *size, values)

    return change


@pytest.mark.parametrize(
    ("damage", "num_classes", "said"),
    [
        (shutil.rmtree, 3, "data.root=ROOT: no such folder; expected ROOT/train/images"),
        (lambda root: shutil.rmtree(root / "val"), 3, "data.root=ROOT: there is no folder val/images in it; expected"),
        (lambda root: shutil.rmtree(root / "val/masks"), 3, "data.root=ROOT: there is no folder val/masks in it"),
        (
            lambda root: [path.unlink() for path in root.glob("val/images/*")],
            3,
            "data.root=ROOT: val/images holds no images; expected",
        ),
        (
            lambda root: [path.unlink() for path in root.glob("train/masks/*")],
            3,
            "data.root=ROOT: 4 of 4 files in train/images have no mask: 0.jpg, 1.jpg, 2.jpg, ...",
        ),
        (
            lambda root: (root / "train/images/1.jpg").unlink(),
            3,
            "data.root=ROOT: 1 of 4 files in train/masks have no image: 1.png",
        ),
        (
            lambda root: None,
            2,
            "6 of 6 masks looked at do not fit: ROOT/train/masks/0.png holds the value 2, but there are 2 classes; "
            "ROOT/train/masks/1.png",
        ),
        (
            lambda root: save_mask(root / "val/masks/1.png", 40, 30, (0, 1)),
            3,
            "1 of 6 masks looked at do not fit: ROOT/val/masks/1.png is 40x30, its image 1.jpg is 70x105",
        ),
        (
            lambda root: Image.new("RGB", (95, 75)).save(root / "val/masks/0.png"),
            3,
            "ROOT/val/masks/0.png is a picture of mode RGB, so it may show colours instead of classes; expected",
        ),
        (
            lambda root: shutil.copy(root / "train/images/1.jpg", root / "train/images/1.jpeg"),
            3,
            "1 images differ from others in their extension only, but have one mask: 1.jpeg; expected",
        ),
        (
            lambda root: (root / "val/masks/0.png").write_text("no image"),
            3,
            "ROOT/val/masks/0.png cannot be read (no p",
        ),
        (
            refill(0, 255),
            2,
            "ROOT/train/masks/0.png and 5 others hold nothing but 0 and 255, where 255 means ignore; expected class",
        ),
        (refill(0, 255), None, "data.num_classes=1: expected a whole number from 2 to 255; expected class indices"),
    ],
)
def test_check__names_what_is_wrong(root, damage, num_classes, said):
    damage(root)
    with pytest.raises(UsageError) as raised:
        mask_classes(str(root), num_classes)
    assert said in str(raised.value).replace(str(root), "ROOT")


def test_unreadable_masks__are_named_when_classes_are_counted(root):
    (root / "train/masks/2.png").write_bytes((root / "train/masks/2.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"train/masks/2\.png cannot be read"):
        mask_classes(str(root))


def test_large_sets__show_a_progress_bar(root, monkeypatch, capsys):
    monkeypatch.setattr(folders, "SLOW", 6)
    mask_classes(str(root))
    assert "reading 6 masks" in capsys.readouterr().out
