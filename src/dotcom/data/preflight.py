"""Reading image files, and making sure before a long run that all of them can be read."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from dotcom.annotations.folders import remembered
from dotcom.annotations.images import UnreadableImage, decode_image, exif_orientation, open_regular, opened
from dotcom.errors import UsageError, listed
from dotcom.hardware import cores

decode_jpeg: Any
try:  # loading photos takes 1.2 to 1.3 times as long without it, and gives the same bits
    from torchcodec.decoders import decode_jpeg  # type: ignore[attr-defined,unused-ignore]
except (ImportError, OSError, RuntimeError):  # not installed, or made for another torch
    decode_jpeg = None


def read_image(source: Path | bytes, upright: bool = True) -> Tensor:
    """Read an image as ``dotcom.annotations.images`` does, as a tensor: uint8 RGB (3, H, W).

    Pillow opens every file and decodes all formats but one: JPEGs that are grey or RGB, most of what is trained on,
    are decoded by TorchCodec where it is installed.

    Args:
        source: A file, or the content of one.
        upright: Turn it by its EXIF orientation, as viewers do.

    Raises:
        UnreadableImage: If the file is truncated, no image, or no regular file.
    """
    content = source if isinstance(source, bytes) else _read_bytes(source)
    with opened(content) as picture:
        jpeg = decode_jpeg is not None and picture.format == "JPEG" and picture.mode in ("RGB", "L")
        if jpeg and (upright or exif_orientation(picture) == 1):
            try:
                return decode_jpeg(content, mode="RGB")
            except RuntimeError:  # Pillow decides whether it can be read, and says why not
                pass
        return torch.from_numpy(np.array(decode_image(picture, upright))).permute(2, 0, 1)


def _read_bytes(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None


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
        UsageError: Naming the first ten files that cannot be decoded.
    """
    if paths:
        remembered("readable", paths, partial(_decode_all, paths))


def _decode_all(paths: Sequence[Path]) -> int:
    with ThreadPoolExecutor(cores()) as pool:  # decoding leaves Python's lock, so threads run side by side
        answers = track(pool.map(_unreadable, paths), f"checking {len(paths):,} images", total=len(paths))
        broken = [f"{path} ({answer})" for path, answer in zip(paths, answers, strict=True) if answer]
    if broken:
        names = listed(broken, limit=10, separator="; ")
        raise UsageError(f"data.check: {len(broken)} of {len(paths)} images cannot be read: {names}")
    return len(paths)


def _unreadable(path: Path) -> str:
    try:
        read_image(path)
    except UnreadableImage as error:
        return str(error)
    return ""
