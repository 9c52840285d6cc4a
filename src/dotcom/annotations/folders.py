"""What is in a folder, asked once per folder, and the one line that says it is not there."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from dotcom.errors import UsageError, listed

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dotcom"

Item = TypeVar("Item")


def existing_root(root: str | None, expected: str) -> Path:
    """The folder ``data.root``.

    Raises:
        UsageError: If there is none; it says what was ``expected`` in it.
    """
    folder = Path(str(root)).expanduser()
    if root is None or not folder.is_dir():
        named = "null" if root is None else root
        raise UsageError(f"data.root={named}: no such folder; {expected}; set it with data.root=PATH")
    return folder


def names_in(folder: Path) -> set[str]:
    """Names of the files and folders in ``folder``; none if it does not exist."""
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def missing(folder: Path, names: Iterable[str]) -> list[str]:
    """Those ``names``, relative to ``folder``, that are not there; one listing per folder, not one call per name."""
    present: dict[str, set[str]] = {}
    absent = []
    for name in names:
        inside, _, last = name.rpartition("/")
        if inside not in present:
            present[inside] = names_in(folder / inside)
        if last not in present[inside]:
            absent.append(name)
    return absent


def first_three(names: Iterable[object]) -> str:
    """``a, b, c, ...``."""
    return listed([str(name) for name in names], limit=3)


def spread(items: Sequence[Item], count: int = 64) -> list[Item]:
    """At most ``count`` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]


def remembered(kind: str, paths: Iterable[Path], compute: Callable[[], int]) -> int:
    """What ``compute`` found in ``paths``, kept on disk until a file's size or time of change differs."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(f"{path}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    kept = CACHE / f"{kind}-{digest.hexdigest()[:16]}.json"
    if kept.exists():
        return int(json.loads(kept.read_text()))
    answer = compute()
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(answer))
    partial.replace(kept)  # a process that reads meanwhile finds a whole file or none
    return answer
