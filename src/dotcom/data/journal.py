"""The journal of a preparation, with which it goes on after whatever stopped it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dotcom.annotations.folders import is_inside
from dotcom.errors import UsageError
from dotcom.foreign import LARGE, brief, parse_json, read_foreign
from dotcom.record import hash_of, whole

ANOTHER = "expected what a preparation wrote; begin again in another folder"

Entry = dict[str, Any]  # of an image or a shard: key, files (name, bytes, sha256), left_out (name, why), and so on


def is_entry(entry: dict[str, Any]) -> bool:
    """Whether a line of a journal has what is read of it."""
    files, left = entry.get("files"), entry.get("left_out")
    return (
        isinstance(entry.get("key"), str)
        and isinstance(files, list)
        and isinstance(left, list)
        and isinstance(entry.get("sizes"), list)
        and type(entry.get("images", 0)) is int
        and all(isinstance(file, list) and len(file) == 3 and _is_file(*file) for file in files)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in left)
    )


def _is_file(name: Any, size: Any, sha256: Any) -> bool:
    inside = isinstance(name, str) and "\0" not in name and is_inside(name)
    return inside and type(size) is int and isinstance(sha256, str)


def file_facts(folder: Path, name: str) -> list[Any]:
    """Name, bytes and sha256 of a file in a prepared folder, as they stand in an entry."""
    return [name, (folder / name).stat().st_size, hash_of(folder / name)]


class Journal:
    """What is done already, one line of JSON for each; a line that a kill has cut short does not count.

    Args:
        path: The file.
        settings: What the result depends on; the first line.

    Raises:
        UsageError: If the file is of other settings, or damaged.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        lines = read_foreign(path, most=LARGE).splitlines(keepends=True) if path.exists() else []
        whole_lines = [line for line in lines if line.endswith(b"\n")]
        if whole_lines:
            begun = self._parsed(whole_lines[0])
            if other := next((key for key in settings if begun.get(key) != settings[key]), None):
                raise UsageError(
                    f"{path.parent}: begun with {other}={brief(begun.get(other))}, not {settings[other]}; expected the "
                    "same command as before, or another folder"
                )
            entries = [self._parsed(line) for line in whole_lines[1:]]
            if not all(map(is_entry, entries)):
                raise self._damaged()
            self.entries = {entry["key"]: entry for entry in entries}
        with whole(path) as temporary:
            temporary.write_bytes(b"".join(whole_lines) or (json.dumps(settings) + "\n").encode())

    def _parsed(self, line: bytes) -> dict[str, Any]:
        content = parse_json(line, str(self.path), ANOTHER)
        if not isinstance(content, dict):
            raise self._damaged()
        return content

    def _damaged(self) -> UsageError:
        return UsageError(f"{self.path}: damaged; {ANOTHER}")

    def add(self, entries: Sequence[Entry]) -> None:
        """Say that some more are done."""
        with self.path.open("a") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))
        self.entries |= {entry["key"]: entry for entry in entries}
