"""Whether prepared data are what they were: the size and the sum of every file, and no file besides."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from dotcom.annotations.folders import is_inside
from dotcom.errors import UsageError, listed
from dotcom.foreign import LARGE, brief, read_foreign
from dotcom.hardware import cores
from dotcom.prepared import MANIFEST, SUMS, read_prepared
from dotcom.stores import Unusable, check


def verify(folder: Path) -> str:
    """Read every file; returns the closing line.

    Raises:
        UsageError: If the folder is not prepared; naming the first files that are missing, changed, or new.
    """
    facts = read_prepared(str(folder))
    if facts is None or not (folder / SUMS).is_file():
        raise UsageError(f"{folder}: no prepared.json with {SUMS}; expected a folder that dotcom.data.prepare wrote")
    lines = [_sum_of(folder, number, line) for number, line in enumerate(_lines(folder / SUMS), start=1)]
    with ThreadPoolExecutor(cores()) as pool:
        answers = pool.map(lambda line: _wrong(folder, *line), lines)
        wrong = [said for said in track(answers, f"checking {len(lines):,} files", len(lines), transient=True) if said]
    known = {MANIFEST, SUMS, *(name for _, _, name in lines)}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file()}
    wrong += [f"{name}: it was not prepared" for name in sorted(found - known)]
    if wrong:
        raise UsageError(
            f"{folder}: {len(wrong)} files are not what was prepared ({len(lines)}): {listed(wrong, 3, '; ')}; "
            "copy them again, remove what is too much, or prepare into another folder"
        )
    return f"{folder}: {len(lines):,} files, {facts['bytes']:,} bytes, all as they were prepared"


def _lines(file: Path) -> list[str]:
    return read_foreign(file, most=LARGE).decode(errors="replace").split("\n")[:-1]


def _sum_of(folder: Path, number: int, line: str) -> tuple[str, str, str]:
    """Sum, size and name of a line."""
    found = re.fullmatch(r"([0-9a-f]{64})  ([0-9]{1,18})  ([^\0]+)", line)
    if not found or not is_inside(found[3]):
        raise UsageError(
            f"{folder / SUMS}: line {number} is {brief(line)}; expected a sum, a size and a name within the folder"
        )
    return found[1], found[2], found[3]


def _wrong(folder: Path, sha256: str, size: str, name: str) -> str:
    try:
        check(folder / name, int(size), sha256)
    except Unusable as error:
        return f"{name}: {error}"
    return ""
