"""Reading image files, and making sure before a long run that all of them can be read."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import to_dtype

from dotcom.errors import listed

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dotcom"


def read_image(path: Path) -> Tensor:
    """A file as uint8 RGB (3, H, W), upright by its EXIF orientation.

    Raises:
        RuntimeError: If the file is truncated or no image.
    """
    image = decode_image(str(path), mode=ImageReadMode.RGB, apply_exif_orientation=True)
    image = image if image.ndim == 3 else image[0]  # an animation: its first frame
    return image if image.dtype == torch.uint8 else to_dtype(image, torch.uint8, scale=True)  # 16-bit PNG


def check_readable(paths: Sequence[Path]) -> None:
    """Decode every file once, with a progress bar; a set that passed is remembered until a file changes.

    Raises:
        ValueError: Naming the first ten files that cannot be decoded.
    """
    passed = CACHE / f"readable-{_fingerprint(paths)}.json"
    if not paths or passed.exists():
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding leaves Python's lock, so threads run side by side
        answers = track(pool.map(_unreadable, paths), f"checking {len(paths):,} images", total=len(paths))
        broken = [f"{path} ({answer})" for path, answer in zip(paths, answers, strict=True) if answer]
    if broken:
        names = listed(broken, limit=10, separator="; ")
        raise ValueError(f"data.check: {len(broken)} of {len(paths)} images cannot be read: {names}")
    CACHE.mkdir(parents=True, exist_ok=True)
    passed.with_suffix(".tmp").write_text(json.dumps({"files": len(paths), "folder": str(paths[0].parent.parent)}))
    passed.with_suffix(".tmp").replace(passed)


def reason(error: Exception) -> str:
    """Why an image could not be read: the first sentence, without the place in torchvision's sources that says so."""
    return re.sub(r"^.*\.cpp:\d+, ", "", str(error).splitlines()[0]).partition(". ")[0]


def _unreadable(path: Path) -> str:
    try:
        read_image(path)
    except (RuntimeError, OSError) as error:
        return reason(error)
    return ""


def _fingerprint(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(f"{path}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
