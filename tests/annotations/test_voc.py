"""Pascal VOC's files give 0-based boxes and the published lists; whatever is missing is named in one line."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from dotcom.annotations.masks import open_mask
from dotcom.annotations.voc import CLASSES, read_voc_boxes, voc_detection_classes
from dotcom.annotations.voc_masks import read_voc_masks, voc_classes
from dotcom.errors import UsageError
from files import make_voc, save_mask, save_photo, write_list


@pytest.fixture
def root(tmp_path):
    return make_voc(tmp_path)


def test_splits__are_trainval_of_both_years_and_test_of_2007(root):
    train, val = (read_voc_boxes(str(root), split) for split in ("train", "val"))
    assert [photo.number for photo in train.photos] == [5, 7, 2007000027, 2008000032]
    assert [photo.number for photo in val.photos] == [1, 2]
    assert train.photos[2].path == root / "VOC2012/JPEGImages/2007_000027.jpg"
    assert all(photo.path.is_file() for photo in train.photos + val.photos)


def test_classes__are_the_twenty_in_alphabetical_order(root):
    assert voc_detection_classes(str(root)) == len(CLASSES) == 20
    assert sorted(CLASSES) == CLASSES
    assert read_voc_boxes(str(root), "val").category_ids == list(range(1, 21))


def test_roots__may_be_relative(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert voc_detection_classes(root.name) == 20
    assert voc_classes(root.name) == 21


def test_boxes__count_from_zero_and_end_after_the_last_pixel(root):
    photo = read_voc_boxes(str(root), "train").photos[0]
    dog, cat = photo.boxes
    assert photo.size == (70, 90)
    assert (dog.corners, CLASSES[dog.label], dog.crowd, dog.area) == ((0, 10, 40, 50), "dog", False, 1600)
    assert (cat.corners, CLASSES[cat.label], cat.crowd, cat.area) == ((20, 10, 40, 50), "cat", True, 800)


def test_images_without_objects__stay(root):
    assert [len(photo.boxes) for photo in read_voc_boxes(str(root), "train").photos] == [2, 1, 1, 0]


def test_parts_of_objects__are_no_objects(root):
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    file = root / "VOC2007/Annotations/000001.xml"
    file.write_text(file.read_text().replace("</object>", f"{part}</object>"))
    assert len(read_voc_boxes(str(root), "val").photos[0].boxes) == 1


def test_boxes_outside__are_clipped_and_counted(root):
    replace("<xmax>40", "<xmax>400")(root)
    with pytest.warns(UserWarning, match=r"1 boxes reach beyond their image and were clipped to it: 000001\.xml"):
        assert read_voc_boxes(str(root), "val").photos[0].boxes[0].corners == (0, 10, 90, 50)


def replace(old, new):
    def change(root) -> None:
        file = root / "VOC2007/Annotations/000001.xml"
        file.write_text(file.read_text().replace(old, new))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "data.root=ROOT: no such folder; expected data.root to be the folder VOCdevkit with VOC2007"),
        (
            lambda root: shutil.rmtree(root / "VOC2007"),
            "data.root=ROOT: it lacks VOC2007/ImageSets/Main/trainval.txt (of VOCtrainval_06-Nov-2007.tar), "
            "VOC2007/ImageSets/Main/test.txt (of VOCtest_06-Nov-2007.tar); expected",
        ),
        (
            lambda root: (root / "VOC2007/ImageSets/Main/test.txt").unlink(),
            "data.root=ROOT: it lacks VOC2007/ImageSets/Main/test.txt (of VOCtest_06-Nov-2007.tar); expected data.root",
        ),
        (
            lambda root: (root / "VOC2012/Annotations/2007_000027.xml").unlink(),
            "1 of 2 files that VOC2012/ImageSets/Main/trainval.txt lists are not in VOC2012/Annotations: "
            "2007_000027.xml",
        ),
        (
            lambda root: shutil.rmtree(root / "VOC2007/JPEGImages"),
            "2 of 2 files that VOC2007/ImageSets/Main/trainval.txt lists are not in VOC2007/JPEGImages: 000005.jpg,",
        ),
        (replace("</annotation>", ""), "ROOT/VOC2007/Annotations/000001.xml: no annotation of Pascal VOC (no element"),
        (replace("<xmin>1</xmin>", ""), "000001.xml: no annotation of Pascal VOC (<object> has no bndbox/xmin)"),
        (
            replace("dog", "dgo"),
            "the class dgo is none of VOC's 20; did you mean dog?",
        ),
    ],
)
def test_boxes__name_what_is_wrong(root, damage, said):
    damage(root)
    with pytest.raises(UsageError) as raised:
        voc_detection_classes(str(root))
    assert said.replace("ROOT", str(root)) in str(raised.value)


def test_ids__must_be_digits(root):
    write_list(root / "VOC2007/ImageSets/Main/test.txt", ["photo"])
    for kind, end in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        next((root / "VOC2007" / kind).iterdir()).rename(root / "VOC2007" / kind / f"photo.{end}")
    with pytest.raises(UsageError, match="expected ids of digits"):
        read_voc_boxes(str(root), "val")


@pytest.mark.parametrize("ask", [voc_detection_classes, voc_classes])
def test_root__beside_the_right_one_is_recognised(root, ask):
    for wrong in (root.parent, root / "VOC2012"):
        with pytest.raises(UsageError) as raised:
            ask(str(wrong))
        assert str(raised.value).endswith(f"; did you mean data.root={root}?")


def test_masks__are_those_of_the_lists(root):
    assert voc_classes(str(root)) == 21
    for split, names in (("train", ["2007_000027", "2008_000032"]), ("val", ["2009_000001", "2009_000002"])):
        year = root / "VOC2012"
        pairs = [(year / "JPEGImages" / f"{name}.jpg", year / "SegmentationClass" / f"{name}.png") for name in names]
        assert read_voc_masks(str(root), split) == pairs


@pytest.mark.parametrize("place", ["SBD", "benchmark_RELEASE/dataset", "VOC2012/SegmentationClassAug"])
def test_sbd__adds_to_train_all_that_is_not_in_val(root, place):
    # one in VOC's train, one in VOC's val, and two of its own
    lists = {"train": ["2007_000027", "2010_000001"], "val": ["2009_000001", "2010_000002"]}
    for split, names in lists.items():
        for name in names:
            save_photo(root / f"VOC2012/JPEGImages/{name}.jpg", 90, 70)
            if place.endswith("Aug"):
                save_mask(root / place / f"{name}.png", 90, 70, (0, 5))
            else:
                save_sbd(root / place / "cls" / f"{name}.mat", 90, 70)
                write_list(root / place / f"{split}.txt", names)
    pairs = read_voc_masks(str(root), "train")
    assert [image.stem for image, _ in pairs] == ["2007_000027", "2008_000032", "2010_000001", "2010_000002"]
    assert [mask.parent.name == "SegmentationClass" for _, mask in pairs] == [True, True, False, False]
    assert len(read_voc_masks(str(root), "val")) == 2
    extra = open_mask(pairs[2][1])
    assert (extra.size, np.unique(extra).tolist()) == ((90, 70), [0, 5])
    assert voc_classes(str(root)) == 21


def save_sbd(path, width, height) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((height, width), np.uint8)
    mask[:, 40:] = 5
    savemat(path, {"GTcls": {"Segmentation": mask}})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "data.root=ROOT: no such folder; expected data.root to be the folder VOCdevkit with ImageSets"),
        (
            lambda root: shutil.rmtree(root / "VOC2012"),
            "data.root=ROOT: there is no VOC2012/ImageSets/Segmentation/train.txt in it; expected",
        ),
        (
            lambda root: (root / "VOC2012/JPEGImages/2009_000002.jpg").unlink(),
            "data.root=ROOT: 1 of 2 val images are not there: VOC2012/JPEGImages/2009_000002.jpg",
        ),
        (
            lambda root: (root / "VOC2012/SegmentationClass/2009_000002.png").unlink(),
            "data.root=ROOT: 1 of 2 val masks are not there: VOC2012/SegmentationClass/2009_000002.png",
        ),
        (
            lambda root: Image.new("RGB", (90, 70)).save(root / "VOC2012/SegmentationClass/2009_000001.png"),
            "2009_000001.png is a picture of mode RGB, so it may show colours instead of classes; expected",
        ),
    ],
)
def test_masks__name_what_is_wrong(root, damage, said):
    damage(root)
    with pytest.raises(UsageError) as raised:
        voc_classes(str(root))
    assert said.replace("ROOT", str(root)) in str(raised.value)
