"""What is in a folder: which entries count, what is missing, and what was found in its files before."""

import hashlib
import json
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

from rich.progress import track

from dotcom.errors import UsageError, listed

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dotcom"
SLOW = 500  # files; fewer are read in about a second, too fast for a progress bar
SYSTEM = {  # what systems and programs leave in folders, in lower case, beside names that begin with a dot
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "__pycache__", "lost+found"),
    *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"),
    "system volume information",
}
VAL_NAMES = ("val", "valid", "validation")  # of the folder of the val split, as tools write it

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def is_hidden(name: str) -> bool:
    """Whether an entry of a folder is one that nobody put there on purpose: ``.DS_Store``, ``@eaDir``, ``Thumbs.db``.

    This is the one rule of all readers: class folders, masks, boxes, ``prepare`` and ``predict``.
    """
    return name.startswith((".", "~$")) or name.lower() in SYSTEM


class Hidden:
    """Lists folders without their hidden entries, counts these, and says in one line how many there were."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()

    def without(self, names: Iterable[str]) -> list[str]:
        """The sorted names that are not hidden."""
        ordered = sorted(names)
        self.names.update(name for name in ordered if is_hidden(name))
        return [name for name in ordered if not is_hidden(name)]

    def files_below(self, folder: Path) -> list[str]:
        """The paths of all files in ``folder`` and below, sorted by folder and then by name.

        Links to folders are followed, each folder once.

        Raises:
            UsageError: If a folder must not be read.
        """
        found, seen = [], set()
        for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = self.without(folders)
            found.append((place, self.without(names)))
        return [os.path.join(place, name) for place, names in sorted(found) for name in names]

    def warn(self, where: str) -> None:
        """Say how many entries were passed over, if any; ``where`` begins the line."""
        if total := self.names.total():
            kinds = listed([f"{name} ({count})" for name, count in self.names.most_common()])
            entries = "1 hidden or system entry is" if total == 1 else f"{total} hidden or system entries are"
            warnings.warn(f"{where}: {entries} passed over: {kinds}", stacklevel=2)


def refuse(error: OSError) -> NoReturn:
    """Raise UsageError for a folder that must not be read: what is in it would be missing without a word."""
    raise UsageError(f"{error.filename}: {error.strerror}") from None


def existing_root(root: str | None, expected: str) -> Path:
    """The folder ``data.root``.

    Raises:
        UsageError: If there is none; it says what was ``expected`` in it.
    """
    folder = Path(str(root)).expanduser()
    if root is None or not os.path.isdir(folder):
        named = "null" if root is None else root
        if root is not None and os.path.isfile(folder):
            raise UsageError(f"data.root={root}: a file; expected the folder that holds it: data.root={folder.parent}")
        raise UsageError(f"data.root={named}: no such folder; {expected}; set it with data.root=PATH")
    return folder


def split_name(folder: Path, split: str) -> str:
    """The name of the folder of a split in ``folder``: for val, also ``valid`` or ``validation`` if that is there."""
    names = VAL_NAMES if split == "val" else (split,)
    return next((name for name in names if (folder / name).is_dir()), split)


def names_in(folder: Path) -> set[str]:
    """Names of the files and folders in ``folder``; none if it does not exist.

    Raises:
        UsageError: If it must not be read.
    """
    try:
        return set(os.listdir(folder)) if os.path.isdir(folder) else set()
    except OSError as error:
        refuse(error)


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


def other_spelling(folder: Path, name: str) -> str:
    """``; did you mean X? ...`` if ``name``, which is not in ``folder``, is there in another spelling; else nothing.

    Tools write names with backslashes, with ``%20`` for a space, or with accents as letters of their own (NFD).
    """
    spellings = {
        "with slashes in place of backslashes": name.replace("\\", "/"),
        "with %xx as the characters that they stand for": unquote(name),
        "with composed accents (Unicode NFC)": unicodedata.normalize("NFC", name),
        "with accents as letters of their own (Unicode NFD)": unicodedata.normalize("NFD", name),
        "without the folder in its name": name.replace("\\", "/").rpartition("/")[2],
    }
    for how, other in spellings.items():
        if other != name and other and is_inside(other) and not missing(folder, [other]):
            return f"; the folder has it as {other}, {how}: change the names in one of the two"
    return ""


def is_inside(name: str) -> bool:
    """Whether a relative name stays in its folder: it is not absolute, and does not go up."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and not (len(name) > 1 and name[1] == ":")


def first_three(names: Iterable[object]) -> str:
    """``a, b, c, ...``."""
    return listed([str(name) for name in names], limit=3)


def spread(items: Sequence[Item], count: int = 64) -> list[Item]:
    """At most ``count`` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]


def held_out_tenth(names: Sequence[str]) -> set[str]:
    """A fixed tenth of the names, at least one: those whose SHA-256 ends in 0 as a decimal number.

    It stays the same when names are added.
    """
    hashes = {name: int(hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest(), 16) for name in names}
    held_out = {name for name in names if hashes[name] % 10 == 0}
    return held_out if len(held_out) not in (0, len(names)) else {min(names, key=lambda name: hashes[name])}


def thread_map(function: Callable[[Item], Answer], items: Sequence[Item], what: str) -> list[Answer]:
    """``function`` of each item, in their order, in threads; with a progress bar if there are many."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(function, items)
        return list(track(answers, f"reading {len(items):,} {what}", len(items), disable=len(items) < SLOW))


def remembered(kind: str, paths: Iterable[Path], compute: Callable[[], Any]) -> Any:
    """What ``compute`` found in ``paths``, a value that JSON can hold, kept on disk until a file changes.

    A file counts as changed if its size or its time of change differs. While one is not there, nothing is kept.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):  # a link that leads nowhere; ``compute`` says what that means
            return compute()
        digest.update(f"{path}|{status.st_size}|{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    kept = CACHE / f"{kind}-{digest.hexdigest()[:16]}.json"
    try:
        return json.loads(kept.read_text())
    except (OSError, ValueError):  # none yet, or a damaged one
        answer = compute()
    with suppress(OSError):  # a full disk, or a cache that must not be written
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(answer))
        partial.replace(kept)  # a process that reads meanwhile finds a whole file or none
    return answer
