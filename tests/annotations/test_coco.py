"""COCO's JSON gives boxes in pixels and labels from 0 on; whatever does not fit is named in one line."""

import json
import shutil
import subprocess
import sys
from functools import partial

import pytest
from PIL import Image

from dotcom.annotations import coco
from dotcom.annotations.coco import coco_classes, read_coco
from dotcom.data.boxes import coco_format
from dotcom.errors import UsageError
from files import make_coco

IMAGES = {"train": "train", "val": "val"}
FILES = {"train": "train.json", "val": "val.json"}


@pytest.fixture
def root(tmp_path):
    return make_coco(tmp_path)


def edit(file, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def both(root, change) -> None:
    for split in FILES.values():
        edit(root / split, change)


def test_labels__follow_the_sorted_ids_of_the_categories(root):
    photos = read_coco(str(root), IMAGES, FILES, "train")
    assert photos.classes == ["cat", "dog"]
    assert photos.category_ids == [3, 7]
    assert [box.label for box in photos.photos[0].boxes] == [1, 0, 1]
    assert coco_classes(str(root), IMAGES, FILES) == 2


def test_boxes__are_corners_in_pixels_with_the_area_of_the_file(root):
    photo = read_coco(str(root), IMAGES, FILES, "train").photos[0]
    assert (photo.path, photo.number, photo.size) == (root / "train/001.jpg", 10, (70, 90))
    assert [box.corners for box in photo.boxes] == [(10, 8, 40, 28), (5.5, 30, 45.5, 55), (0, 0, 60, 60)]
    assert [(box.crowd, box.area) for box in photo.boxes] == [(False, 300), (False, 500), (True, 1800)]


def test_images_without_objects__stay(root):
    photos = read_coco(str(root), IMAGES, FILES, "train").photos
    assert [len(photo.boxes) for photo in photos] == [3, 2, 2, 0]


def test_iscrowd_and_area__may_be_left_out(root):
    for key in ("area", "iscrowd"):
        edit(root / "val.json", partial(drop, key))
    box = read_coco(str(root), IMAGES, FILES, "val").photos[0].boxes[0]
    assert (box.area, box.crowd) == (600, False)


def test_area__may_be_null(root):
    edit(root / "val.json", lambda content: [entry.update(area=None) for entry in content["annotations"]])
    assert read_coco(str(root), IMAGES, FILES, "val").photos[0].boxes[0].area == 600


def test_names__that_categories_share_are_told_apart_by_their_ids(root):
    both(root, lambda content: [category.update(name="pet") for category in content["categories"]])
    assert read_coco(str(root), IMAGES, FILES, "val").classes == ["pet (3)", "pet (7)"]


def test_sizes__may_be_those_before_a_rotation_by_exif(root):
    photo = Image.open(root / "val/002.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(root / "val/002.jpg", exif=exif)
    assert coco_classes(str(root), IMAGES, FILES) == 2
    (_, second), (read, _) = read_coco(str(root), IMAGES, FILES, "val").photos, stored(root)
    assert second.size == (105, 70) == tuple(read.shape[-2:])


def stored(root):
    """The photo whose size is that of its annotation before it is turned, as the data set reads it."""
    return coco_format("val", str(root), lambda *pair: pair, IMAGES, FILES)[1]


def drop(key, content) -> None:
    for annotation in content["annotations"]:
        del annotation[key]


def test_boxes_outside__are_clipped_or_dropped_and_counted(root):
    def change(content):
        bboxes = [[-5, 8, 30, 20], [80, 60, 500, 500], [20, 20, 0, 5], [300, 8, 10, 10], [0, 0, 90.7, 70]]
        for annotation, bbox in zip(content["annotations"], bboxes, strict=False):
            annotation |= {"bbox": bbox, "image_id": 10}

    edit(root / "train.json", change)
    with pytest.warns(UserWarning, match="2 boxes") as warned:
        photo = read_coco(str(root), IMAGES, FILES, "train").photos[0]
    assert [box.corners for box in photo.boxes] == [(0, 8, 25, 28), (80, 60, 90, 70), (0, 0, 90, 70)]
    without, clipped = sorted(str(warning.message) for warning in warned)
    where = "data.dataset.annotations.train=train.json: 2 boxes"
    assert clipped.startswith(f"{where} reach beyond their image and were clipped to it: annotation 1, annotation 2")
    assert without.startswith(f"{where} have no area inside their image and were dropped: annotation 3, annotation 4")


def test_file_names__may_have_folders(root):
    (root / "train/sub").mkdir()
    (root / "train/001.jpg").rename(root / "train/sub/a.jpg")
    edit(root / "train.json", lambda content: content["images"][0].update(file_name="sub/a.jpg"))
    assert read_coco(str(root), IMAGES, FILES, "train").photos[0].path == root / "train/sub/a.jpg"


def all_crowds(content) -> None:
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1


def set_field(key, field, value):
    return lambda content: content[key][0].update({field: value})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "data.root=ROOT: no such folder; expected one folder of images"),
        (lambda root: (root / "val.json").unlink(), "annotations.val=val.json: no such file ROOT/val.json; expected"),
        (lambda root: shutil.rmtree(root / "val"), "data.dataset.images.val=val: no such folder ROOT/val; expected"),
        (lambda root: (root / "train.json").write_text("{1"), "annotations.train=train.json: no JSON (Expecting"),
        (lambda root: (root / "train.json").write_text("[]"), 'it lacks the list "images"; expected COCO\'s layout'),
        (lambda root: both(root, lambda content: content.pop("categories")), 'it lacks the list "categories"'),
        (lambda root: both(root, lambda content: content.pop("annotations")), 'it lacks the list "annotations"'),
        (lambda root: both(root, lambda content: content["categories"].clear()), '"categories" is empty'),
        (lambda root: both(root, lambda content: content["images"].clear()), '"images" is empty'),
        (
            lambda root: both(root, lambda content: content["annotations"][1].pop("bbox")),
            'entry 1 of "annotations" lacks',
        ),
        (
            lambda root: both(root, set_field("images", "width", "wide")),
            'entry 0 of "images" (id 10) has width="wide"; expected a whole number of pixels above 0',
        ),
        (
            lambda root: both(root, set_field("images", "id", "a")),
            'entry 0 of "images" has id="a"; expected a whole number',
        ),
        (
            lambda root: both(root, set_field("images", "id", 20)),
            "the images 001.jpg and 002.jpg have the id 20; expected one id for each",
        ),
        (
            lambda root: both(root, set_field("annotations", "category_id", 90)),
            '1 annotations have an unknown category_id, not in "categories": 90; expected an id of "categories", '
            "such as 3, 7",
        ),
        (
            lambda root: both(root, set_field("annotations", "image_id", 99)),
            '1 annotations have an unknown image_id, not in "images": 99',
        ),
        (
            lambda root: both(root, set_field("annotations", "bbox", [1, 2, 3])),
            'entry 0 of "annotations" (id 1) has bbox=[1, 2, 3]; expected [x, y, width, height] in pixels',
        ),
        (
            lambda root: [file.unlink() for file in (root / "train").iterdir()],
            "4 of 4 images are not in ROOT/train: 001.jpg, 002.jpg, 003.jpg, ...; expected file_name relative",
        ),
        (
            lambda root: both(root, set_field("categories", "id", 3)),
            'entry 1 of "categories" has id=3; expected an id that no other category has',
        ),
        (
            lambda root: both(root, lambda content: content["annotations"].clear()),
            "4 images without one box that counts; expected boxes in each split",
        ),
        (
            lambda root: edit(root / "val.json", all_crowds),
            "annotations.val=val.json: 2 images without one box that counts",
        ),
        (
            lambda root: edit(root / "val.json", set_field("categories", "name", "wolf")),
            "1 categories are only in the file of train: 7 dog; expected the same ids and names in both",
        ),
    ],
)
def test_check__names_what_is_wrong(root, damage, said):
    damage(root)
    for ask in (lambda: coco_classes(str(root), IMAGES, FILES), lambda: read_both(root)):
        with pytest.raises(UsageError) as raised:
            ask()
        assert said.replace("ROOT", str(root)) in str(raised.value)
        assert str(raised.value).startswith("data.")
        assert "\n" not in str(raised.value)


def test_sizes__that_differ_are_named_before_training(root):
    for width, name in ((30, "001"), (40, "002")):
        Image.new("RGB", (width, 20)).save(root / f"val/{name}.jpg")
    with pytest.raises(UsageError, match=r"2 of 2 images .* their annotation says: .*001\.jpg is 30x20, not 95x75; "):
        coco_classes(str(root), IMAGES, FILES)


def test_full_check__compares_every_size(root):
    dataset = coco_format("train", str(root), lambda *pair: pair, IMAGES, FILES)
    dataset.check()
    Image.new("RGB", (30, 20)).save(root / "train/003.jpg")
    with pytest.raises(UsageError, match=r"1 of 4 images .* their annotation says: .*003\.jpg is 30x20, not 110x85"):
        dataset.check()


def read_both(root) -> None:
    for split in FILES:
        read_coco(str(root), IMAGES, FILES, split)


def test_root__may_be_missing_altogether():
    with pytest.raises(UsageError, match=r"data\.root=null: no such folder; .*; set it with data\.root=PATH"):
        coco_classes(None, IMAGES, FILES)


def test_large_files__wait_until_the_data_set_is_built(root, monkeypatch):
    monkeypatch.setattr(coco, "LARGE", (root / "val.json").stat().st_size)
    edit(root / "train.json", set_field("annotations", "category_id", 90))
    assert coco_classes(str(root), IMAGES, FILES) == 2
    with pytest.raises(UsageError, match="category_id"):
        read_coco(str(root), IMAGES, FILES, "train")


def test_annotations__are_read_without_torch_or_numpy():
    modules = ", ".join(f"dotcom.annotations.{name}" for name in ("coco", "voc", "masks", "voc_masks", "yolo"))
    code = f"import sys, {modules}; print([m for m in ('torch', 'numpy', 'scipy', 'lightning') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
