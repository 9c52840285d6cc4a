"""Shards: many images in one file, as litdata writes and reads them. Nothing here imports torch, but for writing.

A file is: the number of items, the offsets of all and of the end, then the items; an item is three sizes, then name,
image and target. Numbers are little-endian uint32. ``litdata.StreamingDataset(folder)`` reads the same files.
"""

import json
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dotcom.errors import UsageError
from dotcom.foreign import open_regular
from dotcom.record import whole
from dotcom.stores import Unusable

WORD = 4  # bytes of a number
INDEX = "index.json"  # in the folder of a split; for litdata

Item = tuple[str, bytes, bytes]  # name of the image; its file; its label in digits, its mask as PNG, or nothing


def check_extra() -> None:
    """Writing shards is possible.

    Raises:
        UsageError: Without litdata.
    """
    from importlib.util import find_spec

    if find_spec("litdata") is None:
        raise UsageError("--shards: it needs an extra; pip install 'dotcom[streaming]'")


def write_shard(path: Path, items: Sequence[Item]) -> dict[str, Any]:
    """Write a shard whole; returns what litdata's index says of the format."""
    from litdata.streaming.writer import BinaryWriter  # type: ignore[import-untyped]

    workplace = path.parent / ".shard.tmp"
    shutil.rmtree(workplace, ignore_errors=True)  # one that a kill has left
    writer = BinaryWriter(str(workplace), chunk_size=len(items) + 1)
    for number, (name, image, target) in enumerate(items):
        writer[number] = {"name": name, "image": image, "target": target}
    (written,) = writer.done()
    with whole(path) as temporary:
        Path(written).replace(temporary)
    shutil.rmtree(workplace)
    return writer.get_config()


def write_index(folder: Path, shards: Sequence[dict[str, Any]], config: dict[str, Any]) -> None:
    """Write ``index.json`` beside the shards of a split."""
    chunks = [
        {
            "chunk_bytes": shard["bytes"],
            "chunk_size": shard["images"],
            "dim": None,
            "filename": Path(shard["name"]).name,
        }
        for shard in shards
    ]
    with whole(folder / INDEX) as temporary:
        temporary.write_text(json.dumps({"chunks": chunks, "config": config}, sort_keys=True))


def read_item(path: Path, position: int) -> Item:
    """One item of a shard.

    Raises:
        Unusable: If the file is missing, or holds something else.
    """
    try:
        with open_regular(path) as file:
            (count,) = struct.unpack("<I", file.read(WORD))
            if not 0 <= position < count:
                raise Unusable(f"it has {count} items, not {position + 1} or more")
            file.seek(WORD * (1 + position))
            start, end = struct.unpack("<2I", file.read(2 * WORD))
            if not 0 <= start <= end <= os.fstat(file.fileno()).st_size:
                raise Unusable("it holds other items than expected")
            file.seek(start)
            item = file.read(end - start)
        sizes = struct.unpack_from("<3I", item)
    except (OSError, struct.error) as error:
        raise Unusable(f"it cannot be read ({error})") from None
    if sum(sizes) + 3 * WORD != len(item):
        raise Unusable("it holds other items than expected")
    name, image, target = (bytes(part) for part in parts(item, sizes))
    return name.decode(errors="replace"), image, target


def parts(item: bytes, sizes: Sequence[int]) -> list[bytes]:
    """What follows the sizes in an item, cut up."""
    places = [3 * WORD + sum(sizes[:number]) for number in range(len(sizes))]
    return [item[place : place + size] for place, size in zip(places, sizes, strict=True)]
