"""Masks of class indices beside their images: which belong together, and whether their values and sizes fit."""

import hashlib
import warnings
import zlib
from collections.abc import Sequence
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from dotcom.annotations.folders import existing_root, first_three, names_in, remembered, spread
from dotcom.annotations.pictures import by, side_by_side, sizes
from dotcom.errors import UsageError, listed
from dotcom.layout import EXTENSIONS

IGNORE = 255  # value of a pixel that is neither trained on nor counted
EXPECTED = (
    "expected ROOT/train/images, ROOT/train/masks, ROOT/val/images and ROOT/val/masks (or ROOT/images and "
    "ROOT/masks), with masks/<name>.png for images/<name>.jpg"
)
INDICES = "expected class indices from 0 on and 255 for pixels to ignore, in an 8-bit palette or grey PNG"

Pair = tuple[Path, Path]  # image, mask


@lru_cache
def mask_classes(root: str | None, num_classes: int | None = None) -> int:
    """The number of classes, after a look at which files there are and at 64 masks.

    Args:
        root: ``data.root``.
        num_classes: What the user says; None to count the lines of ``classes.txt``, or else to read every mask for
            the largest value.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    pairs = [pair for split in ("train", "val") for pair in read_masks(root, split)]
    names = class_names(root)
    count = num_classes or len(names) or _largest([mask for _, mask in pairs]) + 1
    if not isinstance(count, int) or not 2 <= count <= IGNORE:
        hint = "" if num_classes or names else f"; {INDICES}; ROOT/classes.txt or data.num_classes=N would say more"
        raise UsageError(f"data.num_classes={count}: expected a whole number from 2 to {IGNORE}{hint}")
    if names and len(names) != count:
        raise UsageError(f"data.num_classes={count}: {root}/classes.txt has {len(names)} names; expected one per class")
    check_masks(spread(pairs), count)
    return count


def read_masks(root: str | None, split: str) -> list[Pair]:
    """Images and their masks, sorted by name, from ``ROOT/<split>`` or, a fixed part of them, from ``ROOT``.

    Without folders for train and val, a tenth of the images is val: those whose name has a hash that ends in 0. It
    stays the same when images are added.

    Raises:
        UsageError: If a folder is missing or empty, or an image has no mask, or a mask no image.
    """
    folder = existing_root(root, EXPECTED)
    if (folder / "images").is_dir() and not (folder / split / "images").is_dir():
        return _tenth(folder, split)
    return _pairs(folder, split)


def class_names(root: str | None) -> list[str]:
    """The lines of ``ROOT/classes.txt``; none if there is no such file."""
    file = existing_root(root, EXPECTED) / "classes.txt"
    return [line.strip() for line in file.read_text().splitlines() if line.strip()] if file.is_file() else []


def open_mask(path: Path | BytesIO) -> Image.Image:
    """The mask as PIL reads it, from a file or its content, in mode L or P; an SBD file (.mat) likewise.

    Raises:
        ValueError: If the file holds something else, or nothing that can be read.
    """
    try:
        if isinstance(path, Path) and path.suffix == ".mat":  # GTcls.Segmentation
            from scipy.io import loadmat

            return Image.fromarray(loadmat(path)["GTcls"][0]["Segmentation"][0])
        mask = Image.open(path)
        mask.load()
    except (OSError, ValueError, TypeError, KeyError, SyntaxError, NotImplementedError, zlib.error) as error:
        raise ValueError(f"cannot be read ({error})") from error
    if mask.mode not in ("L", "P"):
        raise ValueError(f"is a picture of mode {mask.mode}, so it may show colours instead of classes")
    return mask


def check_masks(pairs: Sequence[Pair], num_classes: int) -> int:
    """Every mask can be read, has the size of its image, and holds no value that is no class; returns their number.

    Raises:
        UsageError: Naming the first three masks that do not fit, and what is wrong with them.
    """
    looks = side_by_side(partial(_look, num_classes=num_classes), pairs, "masks")
    if wrong := [said for _, said in looks if said]:
        found = listed(wrong, limit=3, separator="; ")
        raise UsageError(f"{len(wrong)} of {len(pairs)} masks looked at do not fit: {found}; {INDICES}")
    seen = {value for values, _ in looks for value in values}
    if seen <= {0, IGNORE} and IGNORE in seen:
        raise UsageError(
            f"{pairs[0][1]} and {len(pairs) - 1} others hold nothing but 0 and 255, where 255 means ignore; {INDICES}"
        )
    return len(pairs)


def _look(pair: Pair, num_classes: int) -> tuple[list[int], str]:
    """The values in a mask, and what is wrong with it."""
    image, mask = pair
    try:
        picture = open_mask(mask)
    except ValueError as error:
        return [], f"{mask} {error}"
    values = _values(picture)
    if (found := sizes(image)) and picture.size != found[1]:
        return values, f"{mask} is {by(picture.size)}, its image {image.name} is {by(found[1])}"
    if strange := [value for value in values if num_classes <= value < IGNORE]:
        return values, f"{mask} holds the value {strange[-1]}, but there are {num_classes} classes"
    return values, ""


def _largest(masks: list[Path]) -> int:
    """The largest value but 255 in all masks; it is remembered until a mask changes."""
    return remembered("largest", masks, lambda: max(side_by_side(_largest_of, masks, "masks")))


def _largest_of(mask: Path) -> int:
    try:
        return max((value for value in _values(open_mask(mask)) if value != IGNORE), default=0)
    except ValueError as error:
        raise UsageError(f"{mask} {error}; {INDICES}") from None


def _values(mask: Image.Image) -> list[int]:
    return [value for value, count in enumerate(mask.histogram()) if count]


def _tenth(folder: Path, split: str) -> list[Pair]:
    pairs = _pairs(folder, ".")
    hashes = {pair: int(hashlib.sha256(pair[0].name.encode()).hexdigest(), 16) for pair in pairs}
    held_out = {pair for pair in pairs if hashes[pair] % 10 == 0}
    if len(held_out) in (0, len(pairs)):
        held_out = {min(pairs, key=lambda pair: hashes[pair])}
    if len(pairs) < 2:
        raise UsageError(f"data.root={folder}: there is only one image; expected two or more, one of them for val")
    chosen = f"{len(held_out)} of {len(pairs)} images, chosen by a hash of their names, are val"
    warnings.warn(f"data.root={folder}: it has no folders train and val; {chosen}", stacklevel=2)
    return [pair for pair in pairs if (pair in held_out) == (split == "val")]


def _pairs(folder: Path, inside: str) -> list[Pair]:
    """The images in ``folder/inside`` with their masks."""
    where, place = f"data.root={folder}", folder / inside
    for kind in ("images", "masks"):
        if not (place / kind).is_dir():
            raise UsageError(f"{where}: there is no folder {Path(inside) / kind} in it; {EXPECTED}")
    names = sorted(name for name in names_in(place / "images") if name.lower().endswith(EXTENSIONS))
    images = {Path(name).stem: name for name in names}
    masks = {Path(name).stem: name for name in names_in(place / "masks") if name.lower().endswith(".png")}
    if twins := [name for name in names if images[Path(name).stem] != name]:
        what = f"{len(twins)} images differ from others in their extension only"
        raise UsageError(f"{where}: {what}, but have one mask: {first_three(twins)}; {EXPECTED}")
    if not images:
        raise UsageError(f"{where}: {Path(inside) / 'images'} holds no images ({' '.join(EXTENSIONS)}); {EXPECTED}")
    for some, kind, others, lacking in ((images, "images", masks, "mask"), (masks, "masks", images, "image")):
        if alone := sorted(name for stem, name in some.items() if stem not in others):
            counts = f"{len(alone)} of {len(some)} files in {Path(inside) / kind} have no {lacking}"
            raise UsageError(f"{where}: {counts}: {first_three(alone)}; {EXPECTED}")
    return [(place / "images" / images[stem], place / "masks" / masks[stem]) for stem in sorted(images)]
