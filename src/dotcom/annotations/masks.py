"""Masks of class indices beside their images: which belong together, and whether their values and sizes fit."""

import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from dotcom.annotations.boxes import A_FEW
from dotcom.annotations.classes import read_class_names
from dotcom.annotations.folders import (
    Hidden,
    existing_root,
    first_three,
    held_out_tenth,
    names_in,
    remembered,
    split_name,
    spread,
    thread_map,
)
from dotcom.annotations.images import UnreadableImage, by, image_sizes, opened
from dotcom.errors import UsageError, flat, listed
from dotcom.foreign import UNPARSABLE, read_foreign
from dotcom.layout import counts_by_extension, extension, is_photo

IGNORE = 255  # value of a pixel that is neither trained on nor counted
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")  # files of masks
EXPECTED = (
    "expected ROOT/train/images, ROOT/train/masks, ROOT/val/images and ROOT/val/masks (or ROOT/images and "
    "ROOT/masks), with masks/<name>.png for images/<name>.jpg"
)
INDICES = "expected class indices from 0 on and 255 for pixels to ignore, in a palette or grey PNG"
MAT_BYTES = 400 * 1024  # of a file of SBD, which has up to 60 KB; compressed, it may stand for a thousand times more
SCALED = {"L;2": 85, "L;4": 17}  # Pillow stretches grey of 2 and 4 bits to 0..255; the factor, by its raw mode

Pair = tuple[Path, Path]  # image, mask
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """What one mask holds.

    Attributes:
        mask: The file.
        counts: Pixels of each value that occurs.
        colours: The colour that its palette gives to each of them; empty without a palette.
        problem: What is wrong with the mask, if anything.
    """

    mask: Path
    counts: dict[int, int] = field(default_factory=dict)
    colours: dict[int, Colour] = field(default_factory=dict)
    problem: str = ""


@lru_cache
def mask_classes(root: str | None, num_classes: int | None = None) -> int:
    """The number of classes, after a look at which files there are and at up to 64 masks of each split.

    Args:
        root: ``data.root``.
        num_classes: What the user says; None to count the lines of ``classes.txt``, or else to read every mask for
            its values.

    Raises:
        UsageError: If a folder or file is missing or does not fit, or what the values mean is not clear; one line.
    """
    pairs = {split: read_masks(root, split) for split in ("train", "val")}
    names = class_names(root)
    count = num_classes or len(names) or _count_classes(root, [mask for both in pairs.values() for _, mask in both])
    if not isinstance(count, int) or not 2 <= count <= IGNORE:
        hint = "" if num_classes or names else f"; {INDICES}; ROOT/classes.txt or data.num_classes=N would say more"
        raise UsageError(f"data.num_classes={count}: expected a whole number from 2 to {IGNORE}{hint}")
    if names and len(names) != count:
        raise UsageError(f"data.num_classes={count}: {root}/classes.txt has {len(names)} names; expected one per class")
    looks = {split: _look_at(spread(some), count) for split, some in pairs.items()}
    for split, some in looks.items():
        if set().union(*(look.counts for look in some)) == {IGNORE}:
            said = f"the {len(some)} masks of {split} looked at hold nothing but {IGNORE}, which means ignore"
            raise UsageError(f"data.root={root}: {said}; expected pixels with a class in each split; {INDICES}")
    check_looks([look for some in looks.values() for look in some])
    return count


def read_masks(root: str | None, split: str) -> list[Pair]:
    """Images and their masks, sorted by name, from ``ROOT/<split>`` or, a fixed part of them, from ``ROOT``.

    Without folders for train and val, a tenth of the images is val: those whose name has a hash that ends in 0. It
    stays the same when images are added.

    Raises:
        UsageError: If a folder is missing or empty, or an image has no mask, or a mask no image.
    """
    folder = existing_root(root, EXPECTED)
    name = split_name(folder, split)
    if (folder / name / "images").is_dir():
        return _pairs(folder, Path(name, "images"), Path(name, "masks"))
    inside = split_name(folder / "images", split)
    if (folder / "images" / inside).is_dir():
        return _pairs(folder, Path("images", inside), Path("masks", inside))
    if (folder / "images").is_dir():
        return _tenth(folder, split)
    return _pairs(folder, Path(name, "images"), Path(name, "masks"))


def class_names(root: str | None) -> list[str]:
    """The names in ``ROOT/classes.txt``, one for each value; none if there is no such file.

    Raises:
        UsageError: If it cannot be read; one line.
    """
    file = existing_root(root, EXPECTED) / "classes.txt"
    return read_class_names(file) if file.is_file() else []


def open_mask(source: Path | BytesIO) -> Image.Image:
    """The class indices of a mask, as an image of mode L or P, upright as its image is.

    Grey of 1, 2, 4, 8 and 16 bits gives the numbers that the file holds; a palette gives its indices. An SBD file
    (.mat) likewise.

    Args:
        source: A file, or its content.

    Raises:
        ValueError: If the file holds something else, or nothing that can be read; it begins with a verb.
    """
    if isinstance(source, Path) and source.suffix == ".mat":
        return _open_sbd(source)
    try:
        with opened(source if isinstance(source, Path) else source.getvalue()) as mask:
            form, raw_mode = mask.format, _raw_mode(mask)
            mask.load()
            upright = ImageOps.exif_transpose(mask)
    except UnreadableImage as error:
        raise ValueError(f"cannot be read ({error})") from error
    if form == "JPEG":
        raise ValueError("is a JPEG, which changes the values of pixels; save it as PNG")
    return _indices(upright, raw_mode)


def _raw_mode(mask: Any) -> str:
    """How Pillow is about to unpack the pixels of an opened image, such as ``L;4`` for grey of 4 bits."""
    arguments = mask.tile[0].args
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _indices(mask: Image.Image, raw_mode: str) -> Image.Image:
    if mask.mode == "1":
        return mask.convert("L").point([0] + [1] * 255)
    if mask.mode == "L" and raw_mode in SCALED:
        return mask.point([value // SCALED[raw_mode] for value in range(256)])
    if mask.mode.startswith("I"):  # 16 or 32 bits
        least, most = mask.getextrema()
        if not 0 <= int(least) <= int(most) <= IGNORE:  # type: ignore[arg-type]
            value = least if int(least) < 0 else most  # type: ignore[arg-type]
            raise ValueError(f"holds the value {value}; {INDICES}")
        return mask.convert("I").convert("L")
    if mask.mode not in ("L", "P"):
        raise ValueError(f"is a picture of mode {mask.mode}, so it may show colours instead of classes")
    return mask


def _open_sbd(path: Path) -> Image.Image:
    """GTcls.Segmentation of a file of SBD."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = BytesIO(read_foreign(path, "its file", MAT_BYTES))
        mask = Image.fromarray(loadmat(content)["GTcls"][0]["Segmentation"][0])
    except (MatReadError, zlib.error, OSError, NotImplementedError, *UNPARSABLE) as error:
        raise ValueError(f"cannot be read ({flat(str(error)) or type(error).__name__})") from error
    return _indices(mask, "")


def check_masks(pairs: Sequence[Pair], num_classes: int) -> int:
    """Check that masks can be read, have the size of their image, hold only classes, and agree; returns their number.

    Raises:
        UsageError: Naming the first three masks that do not fit, and what is wrong with them.
    """
    check_looks(_look_at(pairs, num_classes))
    return len(pairs)


def check_looks(looks: Sequence[Look]) -> None:
    """Raise UsageError unless each mask fits its image and the classes, and all masks mean the same by their values."""
    if wrong := [look.problem for look in looks if look.problem]:
        found = listed(wrong, limit=3, separator="; ")
        raise UsageError(f"{len(wrong)} of {len(looks)} masks looked at do not fit: {found}; {INDICES}")
    _check_binary(looks)
    _check_palettes(looks)


def _check_binary(looks: Sequence[Look]) -> None:
    """Find masks in which 255 is the object, not a pixel to ignore."""
    binary = [look for look in looks if IGNORE in look.counts and set(look.counts) <= {0, IGNORE}]
    classes = [look for look in looks if set(look.counts) - {0, IGNORE}]
    if not binary or any(IGNORE in look.counts for look in classes):  # 255 is used beside classes: it means ignore
        return
    first, rest = binary[0].mask, len(binary) - 1
    if not classes:
        raise UsageError(f"{first} and {rest} others hold nothing but 0 and 255, where 255 means ignore; {INDICES}")
    counts = f"{len(binary)} of {len(looks)} masks looked at hold nothing but 0 and 255, such as {first}"
    said = f"{counts}, while others, such as {classes[0].mask}, have objects of other values and no 255"
    if len(binary) > A_FEW * len(looks):
        raise UsageError(f"{said}; 255 means ignore, so that the objects of the former would be lost; {INDICES}")
    warnings.warn(f"{said}; 255 means ignore", stacklevel=2)


def _check_palettes(looks: Sequence[Look]) -> None:
    """Find palettes in which one colour has another number in each file; equal numbers may have other colours."""
    first: dict[Colour, tuple[int, Path]] = {}
    for look in looks:
        times = Counter(look.colours.values())
        for value, colour in look.colours.items():
            if times[colour] > 1:  # a palette that tells nothing
                continue
            number, mask = first.setdefault(colour, (value, look.mask))
            if number != value:
                shown = "#{:02x}{:02x}{:02x}".format(*colour)
                raise UsageError(
                    f"{mask} has {number} for the colour {shown}, {look.mask} has {value}: each mask numbers its "
                    f"colours by itself; expected the same class index for a colour in all masks"
                )


def _look_at(pairs: Sequence[Pair], num_classes: int) -> list[Look]:
    return thread_map(partial(_look, num_classes=num_classes), pairs, "masks")


def _look(pair: Pair, num_classes: int) -> Look:
    image, mask = pair
    try:
        picture = open_mask(mask)
    except ValueError as error:
        return Look(mask, problem=f"{mask} {error}")
    counts = _counts(picture)
    problem = ""
    if (found := image_sizes(image)) and picture.size not in found:
        problem = f"{mask} is {by(picture.size)}, its image {image.name} is {by(found[1])}"
    elif strange := [value for value in counts if num_classes <= value < IGNORE]:
        problem = f"{mask} holds the value {strange[-1]}, but there are {num_classes} classes"
    return Look(mask, counts, _colours(picture, counts), problem)


def _counts(mask: Image.Image) -> dict[int, int]:
    """Pixels of each value that occurs, in the order of the values."""
    return {value: count for value, count in enumerate(mask.histogram()[:256]) if count}


def _colours(mask: Image.Image, counts: dict[int, int]) -> dict[int, Colour]:
    if mask.mode != "P":
        return {}
    palette = mask.getpalette() or []
    colours = {}
    for value in counts:
        if len(palette) >= 3 * value + 3:
            red, green, blue = palette[3 * value : 3 * value + 3]
            colours[value] = (red, green, blue)
    return colours


def _count_classes(root: str | None, masks: list[Path]) -> int:
    """The largest value but 255 in all masks, plus one; the values are remembered until a mask changes.

    Raises:
        UsageError: If values between 0 and the largest one do not occur: then they may be no class indices.
    """
    found = remembered("mask-values", masks, partial(_sum_counts, masks))
    counts = {int(value): pixels for value, pixels in found.items()}
    values = [value for value in counts if value != IGNORE]
    count = max(values, default=0) + 1
    absent = [value for value in range(count) if value not in counts]
    if absent and values != [IGNORE - 1]:
        total = sum(counts.values())
        shares = listed([f"{value} ({counts[value] / total:.1%})" for value in sorted(counts)], limit=8)
        if len(values) > len(absent):
            meaning = f"if {first_three(absent)} are classes that do not occur, add data.num_classes={count}"
        else:
            ignored = ", besides 255, which means ignore" if IGNORE in counts else ""
            meaning = (
                f"they look like {len(values)} grey levels{ignored}: write class indices (0, 1, 2 ...) into the masks, "
                f"or add data.num_classes={count} if there are so many classes"
            )
        raise UsageError(f"data.root={root}: the masks hold the values {shares}, and none between; {meaning}")
    return count


def _sum_counts(masks: list[Path]) -> dict[str, int]:
    total: Counter[int] = Counter()
    for counts in thread_map(_counts_of, masks, "masks"):
        total.update(counts)
    return {str(value): total[value] for value in sorted(total)}


def _counts_of(mask: Path) -> dict[int, int]:
    try:
        return _counts(open_mask(mask))
    except ValueError as error:
        raise UsageError(f"{mask} {error}; {INDICES}") from None


def _tenth(folder: Path, split: str) -> list[Pair]:
    pairs = _pairs(folder, Path("images"), Path("masks"))
    if len(pairs) < 2:
        raise UsageError(f"data.root={folder}: there is only one image; expected two or more, one of them for val")
    held_out = held_out_tenth([image.name for image, _ in pairs])
    chosen = f"{len(held_out)} of {len(pairs)} images, chosen by a hash of their names, are val"
    warnings.warn(f"data.root={folder}: it has no folders train and val; {chosen}", stacklevel=2)
    return [pair for pair in pairs if (pair[0].name in held_out) == (split == "val")]


def _pairs(folder: Path, images_in: Path, masks_in: Path) -> list[Pair]:
    """The images in ``folder/images_in`` with their masks in ``folder/masks_in``."""
    where, hidden = f"data.root={folder}", Hidden()
    for place in (images_in, masks_in):
        if not (folder / place).is_dir():
            raise UsageError(f"{where}: there is no folder {place} in it; {EXPECTED}")
    found = hidden.without(names_in(folder / images_in))
    names = [name for name in found if is_photo(name)]
    images = {Path(name).stem: name for name in names}
    beside = hidden.without(names_in(folder / masks_in))
    masks = {Path(name).stem: name for name in beside if name.lower().endswith(LOSSLESS)}
    if twins := [name for name in names if images[Path(name).stem] != name]:
        what = f"{len(twins)} images differ from others in their extension only"
        raise UsageError(f"{where}: {what}, but have one mask: {first_three(twins)}; {EXPECTED}")
    if not images:
        raise UsageError(f"{where}: {images_in} holds no images; {EXPECTED}")
    unused = [name for name in found if not is_photo(name)]
    unused += [name for name in beside if masks.get(Path(name).stem) != name]
    for some, place, others, lacking in ((images, images_in, masks, "mask"), (masks, masks_in, images, "image")):
        if alone := sorted(name for stem, name in some.items() if stem not in others):
            counts = f"{len(alone)} of {len(some)} files in {place} have no {lacking}"
            left = f" ({counts_by_extension(Counter(map(extension, unused)))} there cannot be used)" if unused else ""
            raise UsageError(f"{where}: {counts}: {first_three(alone)}{left}; {EXPECTED}")
    if unused:
        said = f"{len(unused)} files in {images_in} and {masks_in} are left out, because they are no images or masks"
        warnings.warn(f"{where}: {said}: {counts_by_extension(Counter(map(extension, unused)))}", stacklevel=2)
    hidden.warn(f"{where}: {images_in} and {masks_in}")
    return [(folder / images_in / images[stem], folder / masks_in / masks[stem]) for stem in sorted(images)]
