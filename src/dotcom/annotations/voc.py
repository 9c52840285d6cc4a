"""Boxes of Pascal VOC (http://host.robots.ox.ac.uk/pascal/VOC), read from its folder VOCdevkit."""

from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from dotcom.annotations.boxes import (
    A_FEW,
    Box,
    Corners,
    Fitting,
    Photo,
    Photos,
    check_boxes,
    check_sizes,
    warn_of_uncounted,
)
from dotcom.annotations.classes import read_text
from dotcom.annotations.fields import as_whole
from dotcom.annotations.folders import existing_root, first_three, missing, spread
from dotcom.errors import UsageError, did_you_mean
from dotcom.foreign import UNPARSABLE, brief, read_foreign

CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
LISTS = {  # the list of ids, and the archive that holds it
    "train": (
        ("VOC2007/ImageSets/Main/trainval.txt", "VOCtrainval_06-Nov-2007.tar"),
        ("VOC2012/ImageSets/Main/trainval.txt", "VOCtrainval_11-May-2012.tar"),
    ),
    "val": (("VOC2007/ImageSets/Main/test.txt", "VOCtest_06-Nov-2007.tar"),),
}
DIGITS = 18  # of an id, which is stored as a number of 64 bits
EXPECTED = (
    "expected data.root to be the folder VOCdevkit with VOC2007 (trainval and test) and VOC2012 (trainval), each "
    "with ImageSets/Main, Annotations and JPEGImages"
)


@lru_cache
def voc_detection_classes(root: str | None) -> int:
    """20, after a check of the lists, of the presence of every file, and of the content of 64 per split.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    for files in [_files(root, split) for split in LISTS]:
        check_sizes([Photo(_image(file), 0, _parse(file)[0], []) for file in spread(files)], allowed=A_FEW)
    return len(CLASSES)


def read_voc_boxes(root: str | None, split: str) -> Photos:
    """VOC 2007 + 2012 trainval as train, VOC 2007 test as val; ``difficult`` objects are marked as crowd.

    The files count pixels from 1 and include the last one; so 1 is taken from xmin and ymin, and nothing from the
    others. The number of a photo is its id without the underscore, which differs between the years: 5 for 000005 of
    VOC2007, 2007000027 for 2007_000027 of VOC2012.

    Source: the split "07+12" of Fast R-CNN (arXiv:1504.08083, section 4.1).

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    fitting, photos = Fitting(), []
    for file in _files(root, split):
        size, objects = _parse(file)
        boxes = []
        for corners, label, difficult in objects:
            if inside := fitting.fit(corners, size, file.name):
                left, top, right, bottom = inside
                boxes.append(Box(inside, label, difficult, (right - left) * (bottom - top)))
        photos.append(Photo(_image(file), int(file.stem.replace("_", "")), size, boxes))
    fitting.warn(f"data.root={root}")
    warn_of_uncounted(f"data.root={root}: {split}", photos, "difficult=1")
    check_boxes(f"data.root={root}", photos)
    return Photos(photos, list(CLASSES), list(range(1, len(CLASSES) + 1)))


def listed_ids(file: Path) -> list[str]:
    """The first word of every line."""
    return [line.split()[0] for line in read_text(file).splitlines() if line.strip()]


def is_id(name: str) -> bool:
    """Whether an image has a name that is a number of at most 64 bits, with underscores."""
    digits = name.replace("_", "")
    return digits.isascii() and digits.isdecimal() and len(digits) <= DIGITS


def nearby_root(folder: Path) -> str:
    """``; did you mean data.root=PATH?`` if VOCdevkit is one level below or above, else nothing."""
    near = [place for place in (folder / "VOCdevkit", folder.parent) if any(place.glob("VOC20[01][0-9]"))]
    return f"; did you mean data.root={near[0]}?" if near else ""


def _files(root: str | None, split: str) -> list[Path]:
    """The XML files of ``split``; each of them, and its image, is there."""
    folder = existing_root(root, EXPECTED)
    lists = [pair for pairs in LISTS.values() for pair in pairs]
    if lacking := [f"{place} (of {archive})" for place, archive in lists if not (folder / place).is_file()]:
        raise UsageError(f"data.root={root}: it lacks {', '.join(lacking)}; {EXPECTED}{nearby_root(folder)}")
    files = []
    for place, _ in LISTS[split]:
        year, names = (folder / place).parents[2], listed_ids(folder / place)
        if odd := [name for name in names if not is_id(name)]:
            raise UsageError(
                f"data.root={root}: {place} lists {first_three(odd)}; expected ids of digits, such as 000005 and "
                f"2007_000027, {DIGITS} at most; for other names use data=coco_format"
            )
        for inside, end in (("Annotations", ".xml"), ("JPEGImages", ".jpg")):
            if absent := missing(year / inside, [f"{name}{end}" for name in names]):
                raise UsageError(
                    f"data.root={root}: {len(absent)} of {len(names)} files that {place} lists are not in "
                    f"{year.name}/{inside}: {first_three(absent)}; {EXPECTED}"
                )
        files += [year / "Annotations" / f"{name}.xml" for name in names]
    return files


def _image(file: Path) -> Path:
    return file.parents[1] / "JPEGImages" / f"{file.stem}.jpg"


def _parse(file: Path) -> tuple[tuple[int, int], list[tuple[Corners, int, bool]]]:
    """Size (H, W), and (x1 y1 x2 y2, label, difficult) of every object."""
    content = read_foreign(file)
    try:
        tree = ElementTree.XML(content, ElementTree.XMLParser(target=WithoutTypes()))
        size = _pixels(tree, "size/height"), _pixels(tree, "size/width")
        objects = []
        for thing in tree.findall("object"):  # children only: <part> has a <bndbox> too
            corners = (float(_text(thing, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
            left, top, right, bottom = corners
            difficult = thing.findtext("difficult", "0").strip() == "1"
            objects.append(((left - 1, top - 1, right, bottom), _label(_text(thing, "name")), difficult))
    except (ElementTree.ParseError, *UNPARSABLE) as error:
        raise UsageError(f"{file}: no annotation of Pascal VOC ({error}); {EXPECTED}") from None
    return size, objects


class WithoutTypes(ElementTree.TreeBuilder):
    """Elements alone: a document type could define names that stand for gigabytes of text, or for other files."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it has a DOCTYPE, which annotations do not need")


def _pixels(node: ElementTree.Element, path: str) -> int:
    found = as_whole(_text(node, path))
    if found is None or not 0 < found < 2**31:
        raise ValueError(f"{path} is {brief(_text(node, path))}, not a number of pixels")
    return found


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ValueError(f"<{node.tag}> has no {path}")
    return text.strip()


def _label(name: str) -> int:
    if name not in CLASSES:
        raise ValueError(f"the class {brief(name)} is none of VOC's 20{did_you_mean(name, CLASSES)}")
    return CLASSES.index(name)
