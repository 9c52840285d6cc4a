"""One folder per class: what it has to look like, and which files in it are photos. No image is read."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dotcom.annotations.folders import Hidden, is_hidden, names_in, split_name
from dotcom.annotations.images import EXTENSIONS
from dotcom.errors import UsageError, listed

EXPECTED = "expected ROOT/train/<class>/<image> and ROOT/val/<class>/<image>"
ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")
KNOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF or JPEG 2000 by their extension"


def class_folders(root: str) -> list[str]:
    """The classes under ``root/train``, sorted; 1000 unnamed ones if it holds the published ImageNet archives.

    Raises:
        UsageError: If a folder is missing or empty, or train and val have other classes.
    """
    where = f"data.root={'null' if root is None else root}"
    folder = Path(str(root)).expanduser()
    if root is None or not os.path.isdir(folder):
        raise UsageError(f"{where}: no such folder; {EXPECTED}; set it with data.root=PATH")
    places = {split: folder / split_name(folder, split) for split in ("train", "val")}
    unpacked = all(place.is_dir() for place in places.values())
    if not unpacked and all((folder / name).is_file() for name in ARCHIVES):
        return [str(number) for number in range(1000)]
    classes = {split: _classes(places[split], where) for split in ("train", "val")}
    for split, other in (("train", "val"), ("val", "train")):
        if only := sorted(set(classes[split]) - set(classes[other])):
            missing = f"{len(only)} classes are in {split} but not in {other}: {listed(only)}"
            raise UsageError(f"{where}: {missing}; {EXPECTED}")
    if len(classes["train"]) < 2:
        raise UsageError(f"{where}: there is only the class {classes['train'][0]}; expected two or more")
    return classes["train"]


def labelled_files(root: str | Path, split: str) -> tuple[list[Path], list[int], list[str]]:
    """The photos of a split in class folders, their labels, and the names of the classes.

    A photo is a file with the extension of an image, in the folder of a class or below it. What else is there is
    counted in one warning by extension, hidden and system entries in another. The order is by class, folder and name.

    Raises:
        UsageError: If there is no folder of a class, or one holds no photo.
    """
    base = Path(root).expanduser()
    folder, where = base / split_name(base, split), f"data.root={root}"
    hidden, others = Hidden(), Counter[str]()
    classes = hidden.without(_folders(folder, where))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = hidden.files_below(folder / name)
        photos = [Path(file) for file in files if is_photo(file)]
        others.update(extension(file) for file in files if not is_photo(file))
        if not photos:
            raise UsageError(_no_photos(where, f"{folder.name}/{name}", files))
        paths += photos
        labels += [label] * len(photos)
    if others:
        said = f"{others.total()} files in class folders are left out, because they are no images that can be read"
        warnings.warn(f"{where}: {folder.name}: {said}: {counts_by_extension(others)}", stacklevel=2)
    hidden.warn(f"{where}: {folder.name}")
    return paths, labels, classes


def is_photo(name: str) -> bool:
    """Whether a file has the extension of an image that can be read."""
    return name.lower().endswith(EXTENSIONS)


def extension(name: str) -> str:
    """``.heic`` of ``photo.HEIC``; ``no extension`` where there is none."""
    return os.path.splitext(name)[1].lower() or "no extension"


def counts_by_extension(counts: Counter[str]) -> str:
    """``5 .heic, 2 .txt``."""
    return listed([f"{count} {name}" for name, count in counts.most_common()])


def _classes(folder: Path, where: str) -> list[str]:
    names = sorted(name for name in _folders(folder, where) if not is_hidden(name))
    if not names:
        raise UsageError(f"{where}: {folder.name} holds no class folders; {EXPECTED}")
    for name in names:
        if not any(map(is_photo, names_in(folder / name))):  # else look below, which takes longer
            files = Hidden().files_below(folder / name)
            if not any(map(is_photo, files)):
                raise UsageError(_no_photos(where, f"{folder.name}/{name}", files))
    return names


def _folders(folder: Path, where: str) -> Iterable[str]:
    if not os.path.isdir(folder):
        raise UsageError(f"{where}: there is no folder {folder.name} in it; {EXPECTED}")
    return [name for name in names_in(folder) if os.path.isdir(folder / name)]


def _no_photos(where: str, place: str, files: list[str]) -> str:
    found = f" but {counts_by_extension(Counter(map(extension, files)))}" if files else ""
    return f"{where}: {place} holds no images{found}; {EXPECTED}, with {KNOWN}"
