"""Reads the file that a W&B run leaves on disk: records in LevelDB's log format behind a 7-byte header."""

from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER = 7  # bytes before the first record, and before each part of one
BLOCK = 32768
RECORD: Any = vars(wandb_internal_pb2)["Record"]  # made when it is imported: type checkers do not see it


class WandbFile:
    """A file that may still be growing.

    Args:
        path: ``run-ID.wandb``.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.position = path, HEADER

    def new(self) -> list[Any]:
        """The records since the last call that are there in full; a record may be split over blocks of 32 KiB."""
        start = self.position - self.position % BLOCK
        with self.path.open("rb") as file:
            file.seek(start)
            content = file.read()
        position, parts, records = self.position - start, b"", []
        while position + HEADER <= len(content):
            left = BLOCK - position % BLOCK
            if left < HEADER:  # a block's tail too short for another header
                position += left
                continue
            length = int.from_bytes(content[position + 4 : position + 6], "little")
            kind = content[position + 6]  # 1 whole, 2 first, 3 middle, 4 last; 0 where nothing was written
            parts += content[position + HEADER : position + HEADER + length]
            position += HEADER + length
            if kind == 0 or position > len(content):
                break
            if kind in (1, 4):
                records.append(RECORD.FromString(parts))
                parts, self.position = b"", start + position
        return records


def read_records(path: Path) -> list[Any]:
    """All records of a file."""
    return WandbFile(path).new()
