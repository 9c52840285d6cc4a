"""Reading image files, and making sure before a long run that all of them can be read."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import to_dtype

from dotcom.annotations.folders import remembered
from dotcom.errors import listed
from dotcom.hardware import cores


def read_image(source: Path | bytes, upright: bool = True) -> Tensor:
    """A file as uint8 RGB (3, H, W).

    Args:
        source: JPEG, PNG, WebP or GIF, or the content of such a file.
        upright: Turn it by its EXIF orientation, as viewers do.

    Raises:
        RuntimeError: If the file is truncated or no image.
    """
    if source == b"":
        raise RuntimeError("it is empty")
    file = str(source) if isinstance(source, Path) else torch.frombuffer(bytearray(source), dtype=torch.uint8)
    image = decode_image(file, mode=ImageReadMode.RGB, apply_exif_orientation=upright)
    image = image if image.ndim == 3 else image[0]  # an animation: its first frame
    return image if image.dtype == torch.uint8 else to_dtype(image, torch.uint8, scale=True)  # 16-bit PNG


def check_sets(datasets: Iterable[Any], files: bool) -> None:
    """Check all data sets as far as they know how to: their image files, unless these stand in shards, and the rest."""
    sets = list(datasets)
    if files:
        check_readable([path for dataset in sets for path in getattr(dataset, "paths", [])])
    for dataset in sets:
        if hasattr(dataset, "check"):
            dataset.check()


def check_readable(paths: Sequence[Path]) -> None:
    """Decode every file once, with a progress bar; a set that passed is remembered until a file changes.

    Raises:
        ValueError: Naming the first ten files that cannot be decoded.
    """
    if paths:
        remembered("readable", paths, partial(_decode_all, paths))


def reason(error: Exception) -> str:
    """Why an image could not be read: the first sentence, without the place in torchvision's sources that says so."""
    return re.sub(r"^.*\.cpp:\d+, ", "", str(error).splitlines()[0]).partition(". ")[0]


def _decode_all(paths: Sequence[Path]) -> int:
    with ThreadPoolExecutor(cores()) as pool:  # decoding leaves Python's lock, so threads run side by side
        answers = track(pool.map(_unreadable, paths), f"checking {len(paths):,} images", total=len(paths))
        broken = [f"{path} ({answer})" for path, answer in zip(paths, answers, strict=True) if answer]
    if broken:
        names = listed(broken, limit=10, separator="; ")
        raise ValueError(f"data.check: {len(broken)} of {len(paths)} images cannot be read: {names}")
    return len(paths)


def _unreadable(path: Path) -> str:
    try:
        read_image(path)
    except (RuntimeError, OSError) as error:
        return reason(error)
    return ""
