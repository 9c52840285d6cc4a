"""Reads the file that a W&B run leaves on disk: records in LevelDB's log format behind a 7-byte header."""

from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768


def read_records(path: Path) -> list[Record]:
    """All records that are there in full; a record may be split over blocks of 32 KiB."""
    content, position, parts, records = path.read_bytes(), 7, b"", []
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:  # a block's tail too short for another header
            position += left
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]  # 1 whole, 2 first, 3 middle, 4 last
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if position > len(content):  # the run was killed while it wrote this one
            break
        if kind in (1, 4):
            records.append(Record.FromString(parts))
            parts = b""
    return records
