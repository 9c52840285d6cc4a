"""What a folder of images has to look like, checked without reading an image."""

import os
from pathlib import Path

from dotcom.errors import UsageError, listed

EXPECTED = "expected ROOT/train/<class>/<image> and ROOT/val/<class>/<image>"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif")
ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")


def class_folders(root: str) -> list[str]:
    """The classes under ``root/train``, sorted; 1000 unnamed ones if it holds the published ImageNet archives.

    Raises:
        UsageError: If a folder is missing or empty, or train and val have other classes.
    """
    where = f"data.root={'null' if root is None else root}"
    folder = Path(str(root)).expanduser()
    if not folder.is_dir():
        raise UsageError(f"{where}: no such folder; {EXPECTED}; set it with data.root=PATH")
    unpacked = (folder / "train").is_dir() and (folder / "val").is_dir()
    if not unpacked and all((folder / name).is_file() for name in ARCHIVES):
        return [str(number) for number in range(1000)]
    classes = {split: _classes(folder / split, where) for split in ("train", "val")}
    for split, other in (("train", "val"), ("val", "train")):
        if only := sorted(set(classes[split]) - set(classes[other])):
            missing = f"{len(only)} classes are in {split} but not in {other}: {listed(only)}"
            raise UsageError(f"{where}: {missing}; {EXPECTED}")
    if len(classes["train"]) < 2:
        raise UsageError(f"{where}: there is only the class {classes['train'][0]}; expected two or more")
    return classes["train"]


def _classes(folder: Path, where: str) -> list[str]:
    if not folder.is_dir():
        raise UsageError(f"{where}: there is no folder {folder.name} in it; {EXPECTED}")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not names:
        raise UsageError(f"{where}: {folder.name} holds no class folders; {EXPECTED}")
    for name in names:
        if not any(entry.name.lower().endswith(EXTENSIONS) for entry in os.scandir(folder / name)):
            known = " ".join(EXTENSIONS)
            raise UsageError(f"{where}: {folder.name}/{name} holds no images ({known}); {EXPECTED}")
    return names
