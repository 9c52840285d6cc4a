"""The journal of a preparation, with which it goes on after whatever stopped it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dotcom.errors import UsageError
from dotcom.record import hash_of, whole

Entry = dict[str, Any]  # of an image or a shard: key, files (name, bytes, sha256), left_out (name, why), and so on


def file_facts(folder: Path, name: str) -> list[Any]:
    """Name, bytes and sha256 of a file in a prepared folder, as they stand in an entry."""
    return [name, (folder / name).stat().st_size, hash_of(folder / name)]


class Journal:
    """What is done already, one line of JSON for each; a line that a kill has cut short does not count.

    Args:
        path: The file.
        settings: What the result depends on; the first line.

    Raises:
        UsageError: If the file is of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole_lines = [line for line in lines if line.endswith(b"\n")]
        if whole_lines:
            if (begun := json.loads(whole_lines[0])) != settings:
                other = next(key for key in settings if begun.get(key) != settings[key])
                raise UsageError(
                    f"{path.parent}: begun with {other}={begun.get(other)}, not {settings[other]}; expected the same "
                    "command as before, or another folder"
                )
            self.entries = {entry["key"]: entry for entry in map(json.loads, whole_lines[1:])}
        with whole(path) as temporary:
            temporary.write_bytes(b"".join(whole_lines) or (json.dumps(settings) + "\n").encode())

    def add(self, entries: Sequence[Entry]) -> None:
        """Say that some more are done."""
        with self.path.open("a") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))
        self.entries |= {entry["key"]: entry for entry in entries}
