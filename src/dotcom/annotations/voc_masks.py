"""Lists of images and masks of Pascal VOC 2012, with the extra masks of SBD where they are present."""

from functools import lru_cache
from pathlib import Path

from dotcom.annotations.folders import existing_root, first_three, missing, names_in, spread
from dotcom.annotations.masks import Pair, check_masks
from dotcom.annotations.voc import CLASSES as OBJECTS
from dotcom.annotations.voc import listed_ids, nearby_root
from dotcom.errors import UsageError

CLASSES = ["background", *OBJECTS]
SBD = ("SBD", "benchmark_RELEASE/dataset")  # folders below data.root that may hold cls/*.mat, train.txt and val.txt
EXPECTED = (
    "expected data.root to be the folder VOCdevkit with ImageSets/Segmentation, SegmentationClass and JPEGImages in "
    "VOC2012 (VOCtrainval_11-May-2012.tar)"
)


@lru_cache
def voc_classes(root: str | None) -> int:
    """21 with the background, after a check of the lists, of the presence of every file, and of 64 masks.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    pairs = [pair for split in ("train", "val") for pair in read_voc_masks(root, split)]
    check_masks(spread(pairs), len(CLASSES))
    return len(CLASSES)


def read_voc_masks(root: str | None, split: str) -> list[Pair]:
    """Images and masks, sorted by id: 1,464 train and 1,449 val, or 10,582 train where SBD is present.

    With SBD, train is (train and val of SBD, train of VOC) less val of VOC, with VOC's own mask where it has one. SBD
    is ``ROOT/SBD`` or ``ROOT/benchmark_RELEASE/dataset`` (cls/*.mat, train.txt, val.txt), or the same as PNG in
    ``ROOT/VOC2012/SegmentationClassAug``.

    Source: SBD is Hariharan et al., ICCV 2011; the union is that of DeepLab (arXiv:1606.00915, section 4.1).

    Raises:
        UsageError: If a folder or file is missing; one line.
    """
    folder = existing_root(root, EXPECTED)
    year = folder / "VOC2012"
    lists = {name: year / "ImageSets" / "Segmentation" / f"{name}.txt" for name in ("train", "val")}
    for file in lists.values():
        if not file.is_file():
            place = file.relative_to(folder)
            raise UsageError(f"data.root={root}: there is no {place} in it; {EXPECTED}{nearby_root(folder)}")
    masks = {name: year / "SegmentationClass" / f"{name}.png" for name in listed_ids(lists[split])}
    if split == "train":
        held_out = set(listed_ids(lists["val"]))
        masks = {name: mask for name, mask in (_extra_masks(folder) | masks).items() if name not in held_out}
    images = [f"VOC2012/JPEGImages/{name}.jpg" for name in masks]
    for kind, names in (("images", images), ("masks", [str(mask.relative_to(folder)) for mask in masks.values()])):
        if absent := missing(folder, names):
            what = f"{len(absent)} of {len(masks)} {split} {kind}"
            raise UsageError(f"data.root={root}: {what} are not there: {first_three(absent)}; {EXPECTED}")
    return [(year / "JPEGImages" / f"{name}.jpg", masks[name]) for name in sorted(masks)]


def _extra_masks(folder: Path) -> dict[str, Path]:
    """SBD's masks by id; none where it is not present."""
    aug = folder / "VOC2012" / "SegmentationClassAug"
    if found := {Path(name).stem: aug / name for name in names_in(aug) if name.endswith(".png")}:
        return found
    for place in (folder / name for name in SBD):
        lists = [place / f"{split}.txt" for split in ("train", "val")]
        if all(file.is_file() for file in lists):
            return {name: place / "cls" / f"{name}.mat" for file in lists for name in listed_ids(file)}
    return {}
