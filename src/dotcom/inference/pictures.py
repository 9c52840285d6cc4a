"""Finding pictures: files, and folders however deep. Nothing here imports torch."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dotcom.annotations.folders import Hidden, refuse
from dotcom.annotations.images import KINDS
from dotcom.errors import UsageError
from dotcom.layout import is_photo

DRAWN = ("drawings", "masks")  # folders of a PredictionFolder


def find_pictures(paths: Sequence[Path], without: Path | None = None) -> list[Path]:
    """The files among ``paths``, and the pictures in the folders among them, however deep; sorted, each file once.

    In folders, files count by their extension; hidden and system entries do not, and one warning counts these.

    Args:
        paths: Files, whatever they are called, folders, and patterns such as ``photos/*.jpg`` or ``photos/**``, of
            which what has the name of a picture counts.
        without: A folder to leave out, since it holds what an earlier call has drawn; if it is one of ``paths``, its
            folders ``drawings`` and ``masks``.

    Raises:
        UsageError: If one of ``paths`` does not exist, a folder must not be read, or there is no picture at all.
    """
    paths = [file for path in paths for file in matched(path)]
    for path in paths:
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise UsageError(f"{path}: no such file or folder; expected pictures, or folders with some")
    hidden = Hidden()
    found = sorted(
        file for path in paths for file in ([path] if os.path.isfile(path) else _inside(path, without, hidden))
    )
    hidden.warn(", ".join(map(str, paths)))
    if not found:
        names = ", ".join(map(str, paths))
        raise UsageError(f"{names}: no pictures there; expected {KINDS}")
    first = {file.resolve(): file for file in reversed(found)}  # of the names of one file, the first
    return sorted(first.values())


def matched(path: Path) -> list[Path]:
    """What a quoted pattern stands for, files by their extension and folders; any other path as it is.

    Raises:
        UsageError: If nothing matches the pattern.
    """
    pattern = str(path)
    if os.path.exists(path) or not glob.has_magic(pattern):
        return [path]
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    pictures = [file for file in found if file.is_dir() or is_photo(file.name)]
    if not pictures:
        why = f"none of the {len(found)} files that match is called as pictures are" if found else "nothing matches"
        raise UsageError(f"{pattern}: {why}; expected {KINDS}")
    return pictures


def _inside(folder: Path, without: Path | None, hidden: Hidden) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=refuse):
        made = DRAWN if _same(Path(place), without) else ()
        kept = hidden.without(name for name in folders if name not in made)
        folders[:] = [name for name in kept if not _same(Path(place, name), without)]
        for name in hidden.without(names):
            file = Path(place, name)
            if is_photo(name) and os.path.isfile(file):
                yield file


def _same(folder: Path, other: Path | None) -> bool:
    return other is not None and folder.resolve() == other.resolve()
