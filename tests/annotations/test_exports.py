"""Exports of Roboflow, CVAT and Label Studio, for COCO and YOLO, are read as they are; others are refused by name."""

import json
import shutil

import pytest
from PIL import Image

from dotcom.annotations.coco import coco_classes, read_coco
from dotcom.annotations.yolo import yolo_classes
from dotcom.data.boxes import coco_format, yolo_format
from dotcom.errors import UsageError
from files import SIZES, configure_yolo, make_coco, save_photo, write_yolo

IMAGES = {"train": "train", "val": "val"}
FILES = {"train": "train.json", "val": "val.json"}


def move(source, target) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def roboflow(root) -> None:
    move(root / "val", root / "valid")
    for split, folder in (("train", "train"), ("val", "valid")):
        move(root / f"{split}.json", root / folder / "_annotations.coco.json")


def cvat(root) -> None:
    for split in IMAGES:
        move(root / split, root / "images" / split)
        move(root / f"{split}.json", root / f"annotations/instances_{split}.json")


def published(root) -> None:
    for split in IMAGES:
        move(root / split, root / f"{split}2017")
        move(root / f"{split}.json", root / f"annotations/instances_{split}2017.json")


@pytest.mark.parametrize("layout", [roboflow, cvat, published])
def test_coco_exports__are_found_and_said(layout, tmp_path):
    plain, root = make_coco(tmp_path), tmp_path / "export"
    shutil.copytree(plain, root)
    layout(root)
    with pytest.warns(UserWarning, match=rf"data\.root={root}: train: \S+\.json with images in \S+, val: "):
        assert coco_classes(str(root), IMAGES, FILES) == 2
    for split in IMAGES:
        expected, found = (read_coco(str(place), IMAGES, FILES, split) for place in (plain, root))
        assert [(p.path.name, p.size, p.boxes) for p in found.photos] == [
            (p.path.name, p.size, p.boxes) for p in expected.photos
        ]
    assert coco_format("val", str(root), lambda *pair: pair, IMAGES, FILES)[0][0].shape == (3, 75, 95)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("result.json", "images"),
        ("annotations/instances_default.json", "images/default"),
        ("_annotations.coco.json", "."),
    ],
)
def test_coco_exports__without_splits_hold_out_a_fixed_tenth(file, folder, tmp_path):
    root = tmp_path / "export"
    (root / file).parent.mkdir(parents=True)
    images, annotations = [], []
    for number in range(30):
        save_photo(root / folder / f"{number}.jpg", 60, 50)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 50})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 20, 20]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "screw"}]}
    (root / file).write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="it has no splits, so a tenth of the images, chosen by a hash of their names"):
        assert coco_classes(str(root), IMAGES, FILES) == 1
    train, val = ({p.path.name for p in read_coco(str(root), IMAGES, FILES, split).photos} for split in IMAGES)
    assert train | val == {f"{number}.jpg" for number in range(30)}
    assert not train & val
    assert 1 <= len(val) <= 8


def test_coco_layout__that_is_unknown_lists_what_was_looked_for(tmp_path):
    (tmp_path / "labels").mkdir()
    with pytest.raises(UsageError) as raised:
        coco_classes(str(tmp_path), IMAGES, FILES)
    for place in ("train.json", "_annotations.coco.json", "instances_train.json", "result.json", "FILE"):
        assert place in str(raised.value)


def test_coco_places__that_were_named_are_not_searched_for(tmp_path):
    root = make_coco(tmp_path)
    roboflow(root)
    with pytest.raises(UsageError, match=r"data\.dataset\.annotations\.train=a\.json: no such file"):
        coco_classes(str(root), IMAGES, {"train": "a.json", "val": "b.json"})


def yolo_roboflow(root):
    write_yolo(root)
    configure_yolo(root, train="../train/images", val="../valid/images", nc=2)


def yolo_ultralytics(root):
    write_yolo(root, "images/{split}", "labels/{split}", "val")
    configure_yolo(
        root, path="/content/datasets/pets", train="images/train", val="images/val", names={0: "cat", 1: "dog"}
    )


def yolo_cvat(root):
    write_yolo(root, "images/{split}", "labels/{split}", "val")
    for split, sizes in SIZES.items():
        lines = [f"data/images/{split}/{split}{number}.jpg" for number in range(len(sizes))]
        (root / f"{split}.txt").write_text("\n".join(lines))
    configure_yolo(root, path=".", train="train.txt", val="val.txt", names={0: "cat", 1: "dog"})


def yolo_1_1(root):
    write_yolo(root, "obj_{split}_data", "obj_{split}_data", "valid")
    (root / "obj.names").write_text("cat\ndog\n")


@pytest.mark.parametrize("export", [yolo_roboflow, yolo_ultralytics, yolo_cvat, yolo_1_1])
def test_yolo_exports__are_read_as_they_are(export, tmp_path):
    root = tmp_path / "export"
    export(root)
    with pytest.warns(UserWarning, match=rf"data\.root={root}: \S+: 2 classes, 4 train, 2 val images"):
        assert yolo_classes(str(root)) == 2
    train = yolo_format("train", str(root), lambda *pair: pair)
    val = yolo_format("val", str(root), lambda *pair: pair)
    assert (train.classes, len(train), len(val)) == (["cat", "dog"], 4, 2)
    image, target = train[0]
    assert image.shape == (3, 70, 90)
    assert target["labels"].tolist() == [1, 0]
    assert target["boxes"].tolist() == [pytest.approx([36, 21, 54, 49]), pytest.approx([9, 7, 18, 21])]
    assert train[3][1]["labels"].tolist() == []
    assert val[1][1]["boxes"].tolist() == [pytest.approx([0, 52.5, 35, 105])]
    assert val[1][1]["area"].tolist() == [pytest.approx(35 * 52.5)]


def test_label_studio__has_no_splits(tmp_path):
    for number in range(20):
        save_photo(tmp_path / f"images/{number}.jpg", 60, 50)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / f"labels/{number}.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.warns(UserWarning, match="it has no val split, so a tenth, chosen by a hash of the names, is val"):
        assert yolo_classes(str(tmp_path)) == 2
    train, val = (yolo_format(split, str(tmp_path), lambda *pair: pair) for split in ("train", "val"))
    assert len(train) + len(val) == 20
    assert not set(train.paths) & set(val.paths)


def test_labels__are_fractions_of_the_upright_image(tmp_path):
    yolo_roboflow(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (70, 90)).save(tmp_path / "train/images/train0.jpg", exif=exif)
    assert yolo_format("train", str(tmp_path), lambda *pair: pair)[0][1]["boxes"].tolist()[0] == pytest.approx(
        [36, 21, 54, 49]
    )


def test_keypoints__follow_the_box(tmp_path):
    yolo_roboflow(tmp_path)
    configure_yolo(tmp_path, train="train/images", val="valid/images", kpt_shape=[2, 3])
    for file in tmp_path.glob("*/labels/*.txt"):
        file.write_text("1 0.5 0.5 0.2 0.4  0.1 0.1 2  0.9 0.9 1")
    assert yolo_format("val", str(tmp_path), lambda *pair: pair)[0][1]["labels"].tolist() == [1]


def label(line):
    return lambda root: (root / "train/labels/train1.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (label("0 320 240 50 60"), "train1.txt: line 2: 320 240 50 60 are no fractions of the image from 0 to 1"),
        (label("2 0.5 0.5 0.1 0.1"), "train1.txt: line 2: class 2; expected a class from 0 to 1, as data.yaml names"),
        (label("-1 0.5 0.5 0.1 0.1"), "class -1; expected a class from 0 to 1"),
        (label("0.5 0.5 0.5 0.1 0.1"), "class 0.5; expected a class from 0 to 1"),
        (label("0 0.5 0.5 0.1"), "line 2: 4 numbers; expected data.yaml"),
        (label("0 0.5 0.5 0.1 0.1 0.99"), "line 2: 6 numbers; expected data.yaml"),
        (label("cat 0.5 0.5 0.1 0.1"), "line 2: 'cat 0.5 0.5 0.1 0.1' are no numbers"),
        (label("0 nan 0.5 0.1 0.1"), "are no fractions of the image"),
        (
            lambda root: configure_yolo(root, train="train/images", val="valid/images", nc=3),
            "nc=3, but there are 2 names",
        ),
        (
            lambda root: configure_yolo(root, train="train/images", names={1: "a"}),
            "expected the names of the classes 0, 1, 2",
        ),
        (lambda root: configure_yolo(root, train="elsewhere"), "train=elsewhere: no such folder or file in ROOT"),
        (lambda root: configure_yolo(root, train="/etc"), "train=/etc: no such folder or file in ROOT"),
        (
            lambda root: configure_yolo(root, train="https://host/a.zip"),
            "expected a folder or a list of images within ROOT",
        ),
        (lambda root: configure_yolo(root, val="valid/images"), 'it lacks "train"'),
        (lambda root: (root / "data.yaml").write_text("names: [a\n- b: {"), "data.yaml: no YAML ("),
        (
            lambda root: (root / "data.yaml").write_text("!!python/object/apply:os.system ['touch x']"),
            "no YAML (could not",
        ),
        (
            lambda root: (root / "data.yaml").write_bytes("names: [é]".encode("latin-1")),
            "byte 0xe9, which is not UTF-8",
        ),
        (
            lambda root: (root / "data.yaml").unlink(),
            "there is no YOLO data set; looked for data.yaml, data.yml, classes",
        ),
        (lambda root: shutil.rmtree(root / "train/labels"), "not one of 4 images has a label file, such as ROOT/train"),
        (
            lambda root: [file.write_text("") for file in root.glob("valid/labels/*")],
            "2 images without one box that counts",
        ),
        (shutil.rmtree, "data.root=ROOT: no such folder"),
    ],
)
def test_yolo__names_what_is_wrong(damage, said, tmp_path):
    root = tmp_path / "export"
    yolo_roboflow(root)
    damage(root)
    with pytest.raises(UsageError) as raised:
        yolo_classes(str(root))
    assert said.replace("ROOT", str(root)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_yolo__says_what_it_takes_for_granted(tmp_path):
    yolo_roboflow(tmp_path)
    (tmp_path / "train/labels/train2.txt").unlink()
    (tmp_path / "train/labels/train1.txt").write_text("0 0.5 0.5 0.1 0.1\n" * 2)
    configure_yolo(tmp_path, train=["train/images", "valid/images"], val="valid/images")
    with pytest.warns(UserWarning, match="data.root=") as warned:
        yolo_classes(str(tmp_path))
    lines = "\n".join(str(warning.message) for warning in warned)
    assert "train: 1 of 6 images have no label file and count as images without objects: train2.jpg" in lines
    assert "2 of 2 val images are in train, too" in lines
    assert "train: 1 boxes stand there more than once, and count once" in lines


def test_root__that_is_the_file_points_to_its_folder(tmp_path):
    yolo_roboflow(tmp_path)
    with pytest.raises(UsageError, match=rf"a file; expected the folder that holds it: data\.root={tmp_path}"):
        yolo_classes(str(tmp_path / "data.yaml"))
