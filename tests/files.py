"""Tiny real files in every format of boxes and masks; no side is a multiple of 32."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

SIZES = {"train": [(90, 70), (75, 100), (110, 85), (65, 65)], "val": [(95, 75), (70, 105)]}  # width, height
VOC_BOX = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""


def make_coco(parent: Path) -> Path:
    """4 train and 2 val JPEGs with boxes of categories 3 (cat) and 7 (dog).

    The first photo of each split has a crowd too; the last train photo has no objects.
    """
    root = parent / "coco"
    for split, sizes in SIZES.items():
        images, annotations = [], []
        for number, (width, height) in enumerate(sizes, start=1):
            name = f"{number:03}.jpg"
            save_photo(root / split / name, width, height)
            images.append({"id": 10 * number, "file_name": name, "width": width, "height": height})
            boxes = [(7, [10, 8, 30, 20], 0), (3, [5.5, 30, 40, 25], 0)] if number < 4 else []
            boxes += [(7, [0, 0, 60, 60], 1)] if number == 1 else []
            for category, bbox, crowd in boxes:
                annotation = {"id": len(annotations) + 1, "image_id": 10 * number, "category_id": category}
                annotations.append(annotation | {"bbox": bbox, "iscrowd": crowd, "area": bbox[2] * bbox[3] / 2})
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))
    return root


def make_voc(parent: Path) -> Path:
    """VOCdevkit with 2 + 2 trainval photos of 2007 and 2012, 2 test photos of 2007, and 2 + 2 masks of 2012.

    The first photo of each list has a dog, of which the one in VOC2007 trainval is joined by a difficult cat; the
    second has a person, but that of VOC2012 trainval has no objects.
    """
    root = parent / "VOCdevkit"
    photos = {
        ("VOC2007", "trainval"): ["000005", "000007"],
        ("VOC2012", "trainval"): ["2007_000027", "2008_000032"],
        ("VOC2007", "test"): ["000001", "000002"],
    }
    for (year, split), names in photos.items():
        folder = root / year
        write_list(folder / "ImageSets" / "Main" / f"{split}.txt", names)
        for name, (width, height) in zip(names, SIZES["train"][:2], strict=True):
            save_photo(folder / "JPEGImages" / f"{name}.jpg", width, height)
            box = {"xmin": 1, "ymin": 11, "xmax": 40, "ymax": 50, "difficult": 0}
            boxes = [box | {"name": "dog" if name == names[0] else "person"}] if name != "2008_000032" else []
            boxes += [box | {"name": "cat", "xmin": 21, "difficult": 1}] if name == "000005" else []
            size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
            xml = folder / "Annotations" / f"{name}.xml"
            xml.parent.mkdir(exist_ok=True)
            xml.write_text(f"<annotation>{size}{''.join(VOC_BOX.format(**box) for box in boxes)}</annotation>")
    for split, names in (("train", photos["VOC2012", "trainval"]), ("val", ["2009_000001", "2009_000002"])):
        write_list(root / "VOC2012" / "ImageSets" / "Segmentation" / f"{split}.txt", names)
        for name, (width, height) in zip(names, SIZES["train"][:2], strict=True):
            save_photo(root / "VOC2012" / "JPEGImages" / f"{name}.jpg", width, height)
            save_mask(root / "VOC2012" / "SegmentationClass" / f"{name}.png", width, height, (0, 12, 255), palette=True)
    return root


def make_yolo(parent: Path) -> Path:
    """4 train and 2 val JPEGs with label files, as Roboflow exports them; the last train photo has no objects."""
    write_yolo(parent / "yolo")
    configure_yolo(parent / "yolo", train="../train/images", val="../valid/images", nc=2)
    return parent / "yolo"


def write_yolo(root: Path, images: str = "{split}/images", labels: str = "{split}/labels", val: str = "valid") -> None:
    """The photos and label files of a set in YOLO's format; one object of the first photo is an outline."""
    boxes = {"train": "1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3\n", "val": "0 0.25 0.75 0.5 0.5\n"}
    for split, sizes in SIZES.items():
        name = val if split == "val" else split
        for number, (width, height) in enumerate(sizes):
            save_photo(root / images.format(split=name) / f"{split}{number}.jpg", width, height)
            file = root / labels.format(split=name) / f"{split}{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("" if (split, number) == ("train", 3) else boxes[split])


def configure_yolo(root: Path, **settings: object) -> None:
    """Write ``data.yaml`` with two classes."""
    (root / "data.yaml").write_text(yaml.safe_dump({"names": ["cat", "dog"]} | settings))


def make_masks(parent: Path) -> Path:
    """4 train and 2 val JPEGs with grey PNG masks of the classes 0, 1 and 2; 255 is there too."""
    root = parent / "masks"
    for split, sizes in SIZES.items():
        for number, (width, height) in enumerate(sizes):
            save_photo(root / split / "images" / f"{number}.jpg", width, height)
            save_mask(root / split / "masks" / f"{number}.png", width, height, (0, 1, 2, 255))
    return root


def save_photo(path: Path, width: int, height: int) -> None:
    """A JPEG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def save_mask(path: Path, width: int, height: int, values: tuple[int, ...], palette: bool = False) -> None:
    """Stripes of ``values`` from left to right; with a palette, colours that are not the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(np.tile(stripes(width, values), (height, 1)))
    if palette:
        mask.putpalette([255 - value // 3 for value in range(768)])
    mask.save(path)


def stripes(width: int, values: tuple[int, ...]) -> np.ndarray:
    """One row of a mask."""
    return np.array(values, np.uint8)[np.arange(width) * len(values) // width]


def write_list(path: Path, names: list[str]) -> None:
    """One id per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
