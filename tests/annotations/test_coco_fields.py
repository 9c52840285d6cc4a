"""Every field of COCO's JSON is read as its maker meant it, or refused by name, whichever tool wrote it."""

import json
import os
import unicodedata
import warnings

import pytest
from PIL import Image

from dotcom.annotations import coco
from dotcom.annotations.coco import coco_classes, read_coco
from dotcom.annotations.fields import as_flag, as_number, as_text, as_whole
from dotcom.errors import UsageError
from files import make_coco

IMAGES = {"train": "train", "val": "val"}
FILES = {"train": "train.json", "val": "val.json"}


@pytest.fixture
def root(tmp_path):
    return make_coco(tmp_path)


def edit(root, change, splits=("train", "val")) -> None:
    for split in splits:
        content = json.loads((root / f"{split}.json").read_text())
        change(content)
        (root / f"{split}.json").write_text(json.dumps(content))


def read(root, split="val"):
    return read_coco(str(root), IMAGES, FILES, split)


def refusal(root) -> str:
    """The one line with which the data are refused before training."""
    with pytest.raises(UsageError) as raised:
        coco_classes(str(root), IMAGES, FILES)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def said(root, split="val") -> list[str]:
    """The warnings of a reading."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(root, split)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (as_number, (1, 2.5, "3", " 4.5 ", 10**20), (1, 2.5, 3, 4.5, 1e20)),
        (as_whole, (7, 7.0, "7", "7.0", -1, 2**63 - 1), (7, 7, 7, 7, -1, 2**63 - 1)),
        (as_flag, (0, "0", False, None, "false", 0.0, 1, "1", True, "True"), (False,) * 6 + (True,) * 4),
        (as_text, ("a", " b ", 5), ("a", "b", "5")),
    ],
)
def test_types__have_one_rule_each(rule, values, expected):
    assert tuple(map(rule, values)) == expected


@pytest.mark.parametrize(
    ("rule", "odd"),
    [
        (as_number, ("x", None, True, "nan", "inf", float("nan"), 10**400)),
        (as_whole, (7.5, None, False, 2**63, 2**70, "a", "7.5", 1e300, float("inf"))),
        (as_flag, (2, "yes", 0.5, -1, float("nan"))),
        (as_text, ("", "  ", None, True)),
    ],
)
def test_types__refuse_everything_else(rule, odd):
    for value in (*odd, [1], {}, []):
        assert rule(value) is None, value


def test_numbers__may_be_text(root):
    def as_text_everywhere(content):
        for entry in content["images"]:
            entry |= {"id": str(entry["id"]), "width": str(entry["width"]), "height": f"{entry['height']}.0"}
        for entry in content["annotations"]:
            entry |= {key: str(entry[key]) for key in ("image_id", "category_id", "iscrowd", "area")}
            entry["bbox"] = [str(side) for side in entry["bbox"]]
        for entry in content["categories"]:
            entry["id"] = float(entry["id"])

    before = read(root)
    edit(root, as_text_everywhere)
    assert read(root) == before
    assert coco_classes(str(root), IMAGES, FILES) == 2


@pytest.mark.parametrize("crowd", [0, "0", False, None, "false", 0.0])
def test_iscrowd__is_no_in_every_spelling(root, crowd):
    edit(root, lambda content: [entry.update(iscrowd=crowd) for entry in content["annotations"]])
    assert not any(box.crowd for photo in read(root, "train").photos for box in photo.boxes)


@pytest.mark.parametrize("crowd", [1, "1", True, "true"])
def test_iscrowd__is_yes_in_every_spelling_and_its_share_is_said(root, crowd):
    edit(root, lambda content: content["annotations"][0].update(iscrowd=crowd))
    assert read(root).photos[0].boxes[0].crowd
    assert (
        "data.dataset.annotations.val=val.json: 2 of 5 boxes (40.0%) do not count, because they have iscrowd=1"
        in said(root)
    )


@pytest.mark.parametrize("area", [0, None, -5, "0"])
def test_area__that_says_nothing_is_width_times_height(root, area):
    edit(root, lambda content: [entry.update(area=area) for entry in content["annotations"]])
    assert read(root).photos[0].boxes[0].area == 600


@pytest.mark.parametrize("size", [None, 0])
def test_size__that_is_not_said_is_that_of_the_file(root, size):
    before = read(root).photos
    edit(root, lambda content: [entry.update(width=size, height=size) for entry in content["images"]])
    assert read(root).photos == before
    edit(root, lambda content: [entry.pop("width") for entry in content["images"]])
    assert read(root).photos == before


def test_boxes__that_stand_there_twice_count_once(root):
    before = read(root).photos
    edit(root, lambda content: content["annotations"].extend(dict(entry) for entry in content["annotations"][:3]))
    assert read(root).photos == before
    assert "data.dataset.annotations.val=val.json: 3 boxes stand there more than once, and count once" in said(root)


def test_root_category__is_left_out_if_nothing_is_annotated_with_it(root):
    def add_root(content):
        content["categories"] = [
            {"id": 0, "name": "animals", "supercategory": "none"},
            *({**entry, "supercategory": "animals"} for entry in content["categories"]),
        ]

    edit(root, add_root)
    assert read(root).classes == ["cat", "dog"]
    assert coco_classes(str(root), IMAGES, FILES) == 2
    assert any("animals (0): only a supercategory of others, without annotations" in line for line in said(root))
    edit(root, lambda content: content["annotations"][0].update(category_id=0), splits=("train",))
    coco._classes.cache_clear()  # as in the next process
    assert read(root, "val").classes == read(root, "train").classes == ["animals", "cat", "dog"]
    assert coco_classes(str(root), IMAGES, FILES) == 3


def test_category__that_is_its_own_supercategory_is_a_class(root):
    edit(root, lambda content: [entry.update(supercategory=entry["name"]) for entry in content["categories"]])
    edit(root, lambda content: [entry.update(category_id=7) for entry in content["annotations"]])
    assert read(root).classes == ["cat", "dog"]


def all_boxes(change):
    """Change every box, given the size of its image."""

    def edit_boxes(content):
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for entry in content["annotations"]:
            entry["bbox"] = change(*entry["bbox"], *sizes[entry["image_id"]])

    return edit_boxes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            all_boxes(lambda x, y, w, h, width, height: [x / width, y / height, w / width, h / height]),
            "the boxes look like fractions of the image, such as [0.11",
        ),
        (
            all_boxes(lambda x, y, w, h, width, height: [x + 30, y + 35, width, height]),
            "the boxes look like corners [x1, y1, x2, y2], such as [40, 43, 90, 70]",
        ),
        (
            lambda content: content["annotations"][2].update(iscrowd="maybe"),
            '(id 3) has iscrowd="maybe"; expected 0 or 1',
        ),
        (lambda content: content["annotations"][2].update(iscrowd=2), "has iscrowd=2; expected 0 or 1"),
        (lambda content: content["annotations"][2].update(area="big"), 'has area="big"; expected a number of pixels'),
        (
            lambda content: content["annotations"][2].update(category_id=[1]),
            "has category_id=[1]; expected a whole number",
        ),
        (
            lambda content: content["annotations"][2].update(bbox=[0, 0, None, 5]),
            "has bbox=[0, 0, null, 5]; expected [x",
        ),
        (lambda content: content["annotations"][2].update(bbox=[0, 0, float("nan"), 5]), "has bbox=[0, 0, NaN, 5]"),
        (lambda content: content["annotations"][2].update(bbox=None), "has bbox=null; expected [x, y, width, height]"),
        (lambda content: content["images"][0].update(id=2**70), "expected a whole number of at most 64 bits"),
        (
            lambda content: content["images"][0].update(width=-4),
            "has width=-4; expected a whole number of pixels above 0",
        ),
        (lambda content: content["images"][0].update(file_name=12), "has file_name=12; expected the name of a file"),
        (
            lambda content: content["images"][0].update(file_name=None),
            "has file_name=null; expected the name of a file",
        ),
        (
            lambda content: content["images"][0].update(file_name="/etc/passwd"),
            "expected a name relative to ROOT/train",
        ),
        (
            lambda content: content["images"][0].update(file_name="../val/001.jpg"),
            "that does not leave it; the folder has",
        ),
        (lambda content: content["images"][0].update(file_name="..\\val\\1.jpg"), "expected a name relative to"),
        (lambda content: content["images"][0].update(file_name="C:/1.jpg"), "expected a name relative to ROOT/train"),
        (
            lambda content: content["images"][1].update(file_name="./001.jpg"),
            "001.jpg is listed under the ids 10 and 20, so that the objects of one would be background in the other",
        ),
        (
            lambda content: content["categories"][0].update(name=None),
            'of "categories" (id 7) has name=null; expected a name',
        ),
    ],
)
def test_wrong_entries__are_refused_by_name(root, change, expected):
    edit(root, change)
    line = refusal(root)
    assert line.startswith("data.dataset.annotations.train=train.json: ")
    assert expected.replace("ROOT", str(root)) in line


def test_boxes__that_reach_beyond_their_image_are_no_corners_if_others_cannot_be(root):
    edit(root, lambda content: [entry.update(bbox=[40, 40, 80, 80]) for entry in content["annotations"][:-2]])
    with pytest.warns(UserWarning, match="reach beyond their image and were clipped"):
        read(root, "train")


@pytest.mark.parametrize(
    ("stored", "listed", "how"),
    [
        ("a b.jpg", "a%20b.jpg", "with %xx as the characters that they stand for"),
        ("sub/a.jpg", "sub\\a.jpg", "with slashes in place of backslashes"),
        ("a.jpg", "images/a.jpg", "without the folder in its name"),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg"), "Unicode NFD"),
        (unicodedata.normalize("NFC", "ü.jpg"), unicodedata.normalize("NFD", "ü.jpg"), "Unicode NFC"),
    ],
)
def test_names__in_another_spelling_are_pointed_out(root, stored, listed, how):
    (root / "train" / stored).parent.mkdir(exist_ok=True)
    (root / "train/001.jpg").rename(root / "train" / stored)
    edit(root, lambda content: content["images"][0].update(file_name=listed), splits=("train",))
    line = refusal(root)
    assert f"the folder has it as {stored}, " in line
    assert how in line


def test_pipes__among_the_images_are_never_opened(root):
    (root / "train/001.jpg").unlink()
    os.mkfifo(root / "train/001.jpg")
    assert coco_classes(str(root), IMAGES, FILES) == 2  # its size is asked for, and would block for ever


def test_depth__of_hostile_json_is_refused(root):
    (root / "train.json").write_text("[" * 100_000)
    assert "no JSON" in refusal(root)


def test_sizes__of_files_that_cannot_be_read_are_refused_where_they_are_needed(root):
    edit(root, lambda content: content["images"][0].pop("width"))
    (root / "train/001.jpg").write_text("no picture")
    assert "it does not say the size of 001.jpg, and that cannot be read; expected width and height" in refusal(root)


def test_turned_webp_and_animations__have_the_size_that_viewers_show(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (75, 95)).save(root / "val/001.webp", exif=exif)
    Image.new("RGB", (70, 105)).save(
        root / "val/002.webp", save_all=True, append_images=[Image.new("RGB", (70, 105), "red")]
    )
    edit(
        root,
        lambda content: [
            image.update(file_name=image["file_name"].replace("jpg", "webp")) for image in content["images"]
        ],
        splits=("val",),
    )
    assert coco_classes(str(root), IMAGES, FILES) == 2
