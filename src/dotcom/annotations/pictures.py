"""What can be known of many pictures without decoding them, read side by side."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image
from rich.progress import track

SLOW = 500  # files; fewer are read in about a second, too fast for a progress bar
ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(function: Callable[[Item], Answer], items: Sequence[Item], what: str) -> list[Answer]:
    """``function`` of each item, in their order, in threads; with a progress bar if there are many."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(function, items)
        return list(track(answers, f"reading {len(items):,} {what}", len(items), disable=len(items) < SLOW))


def sizes(image: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Width and height as stored, and upright by the EXIF orientation; None for a file that is no image."""
    try:
        with Image.open(image) as picture:
            turned = picture.getexif().get(ORIENTATION) in TURNED
            return picture.size, (picture.height, picture.width) if turned else picture.size
    except OSError:
        return None


def by(size: tuple[int, int]) -> str:
    """``640x480``."""
    return f"{size[0]}x{size[1]}"
