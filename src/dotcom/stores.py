"""Prepared files, from a local folder or an object store, checked before they are used. Nothing here imports torch."""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from dotcom.annotations import folders
from dotcom.errors import UsageError
from dotcom.foreign import read_foreign
from dotcom.object_store import Missing, Refused, advice, download, is_remote, read_object
from dotcom.record import hash_of, whole

try:
    import fcntl
except ImportError:  # Windows: several processes may fetch the same file there
    fcntl = None  # type: ignore[assignment]

PAUSES = (1.0, 4.0, 16.0)  # seconds before the second, third and last try
SPARE = 2**30  # bytes of the disk that kept files leave to others, such as checkpoints, if there are so many

Answer = TypeVar("Answer")


class Unusable(Exception):  # noqa: N818
    """A file is missing or not what it was; it says how."""


def read_small(root: str, name: str) -> bytes | None:
    """A file that is read whole, in one try; None if the store answers that there is none.

    Raises:
        UsageError: If there is no store, or it does not let us in.
    """
    if not is_remote(root):
        path = Path(root).expanduser() / name
        return read_foreign(path) if os.path.isfile(path) else None
    try:
        return read_object(root, name)
    except Missing:
        return None
    except Refused as error:
        raise UsageError(f"data.root={root}: {error}; {advice()}") from None


def obtained(root: str, name: str, size: int, sha256: str) -> Path:
    """Where a file lies on this machine, after a check of its content; a remote one is kept for the next time.

    Raises:
        Unusable: If it is missing or damaged.
        UsageError: If there is no room for it.
    """
    return (_download if is_remote(root) else _local)(root, name, size, sha256)


def tried(root: str, name: str, get: Callable[[], Answer]) -> Answer:
    """What ``get`` returns in the first try in which it does; after a try in which it does not comes a growing pause.

    Raises:
        UsageError: After the last try, naming the file, what was expected and what to do.
    """
    for pause in (*PAUSES, None):
        try:
            return get()
        except Unusable as error:
            if pause is None:
                where = f"{root.rstrip('/')}/{name}"
                raise UsageError(
                    f"{where}: {error}, in {len(PAUSES) + 1} tries; expected the file that dotcom.data.prepare wrote; "
                    f"copy it again, or run prepare again"
                ) from None
            warnings.warn(f"{name}: {error}; trying again in {pause:g} s", stacklevel=2)
            time.sleep(pause)
    raise AssertionError


def check(path: Path, size: int, sha256: str) -> None:
    """The file is there and holds what it should.

    Raises:
        Unusable: Saying what differs.
    """
    try:
        found = path.stat().st_size
        if found != size:
            raise Unusable(f"it has {found:,} bytes, not {size:,}")
        digest = hash_of(path)
    except FileNotFoundError:
        raise Unusable("it is missing") from None
    except OSError as error:
        raise Unusable(f"it cannot be read ({error.strerror})") from None
    if digest != sha256:
        raise Unusable(f"its sha256 is {digest[:12]}..., not {sha256[:12]}...")


def _local(root: str, name: str, size: int, sha256: str) -> Path:
    path = Path(root).expanduser() / name

    def look() -> int:
        check(path, size, sha256)
        return size

    try:
        folders.remembered(f"shard-{sha256[:16]}", [path], look)  # hashed once, then only if it changes
    except FileNotFoundError:
        raise Unusable("it is missing") from None
    except OSError as error:
        raise Unusable(f"it cannot be read ({error.strerror})") from None
    return path


def _download(root: str, name: str, size: int, sha256: str) -> Path:
    kept = folders.CACHE / "shards" / f"{sha256[:2]}" / sha256
    if is_whole(kept, size):
        with suppress(OSError):  # a process beside this one made room, or the cache is another user's
            os.utime(kept)
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    make_room(kept.parent.parent, size, name)
    with alone(kept.with_suffix(".lock")):
        if not is_whole(kept, size):
            with whole(kept) as temporary:
                try:
                    download(root, name, temporary)
                except Missing:
                    raise Unusable("it is missing") from None
                except Refused as error:
                    raise Unusable(str(error)) from None
                check(temporary, size, sha256)
    return kept


def is_whole(kept: Path, size: int) -> bool:
    """Whether a file is kept; its content was checked before it got its name."""
    try:
        return kept.stat().st_size == size
    except FileNotFoundError:
        return False


def make_room(folder: Path, size: int, name: str) -> None:
    """Let go of the kept files that were asked for longest ago, if the disk has no room for another one of ``size``.

    Raises:
        UsageError: If that would not be enough; then nothing is lost.
    """
    lacking = size + SPARE - shutil.disk_usage(folder).free
    if lacking <= 0:
        return
    found = []
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):  # another process makes room, too
            if not path.suffix:
                found.append((path.stat(), path))
    if lacking - SPARE > sum(facts.st_size for facts, _ in found):
        raise UsageError(f"{folder}: no room for {name} ({size:,} bytes); XDG_CACHE_HOME=PATH chooses another disk")
    for facts, path in sorted(found, key=lambda pair: pair[0].st_mtime):
        if lacking <= 0:
            return
        path.unlink(missing_ok=True)
        lacking -= facts.st_size


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of the lock when it dies."""
    with path.open("a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
