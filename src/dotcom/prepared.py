"""What ``dotcom.data.prepare`` says of the data it wrote, and how a run takes note of it; torch is not imported."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from dotcom.annotations.fields import LARGEST
from dotcom.errors import UsageError, did_you_mean
from dotcom.foreign import UNPARSABLE, brief, is_unicode, parse_json
from dotcom.object_store import is_remote
from dotcom.stores import read_small

MANIFEST = "prepared.json"
SUMS = "prepared.sha256"  # of each file of a folder: hash, bytes, name
PHOTOS = "photos.json"  # boxes of a split, beside its shards
SPLITS = ("train", "val")
JOURNAL = "prepared.partial.jsonl"  # what is done already; there until all is
VERSION = 1
KINDS = {  # of the sets that can be prepared, by the name of their function in dotcom.data
    "image_folder": "labels",
    "imagenet": "labels",
    "coco_format": "boxes",
    "image_masks": "masks",
}
NOTED = ("form", "data", "side", "quality", "images", "digest")  # what a run records


def read_prepared(root: str | None) -> dict[str, Any] | None:
    """The manifest in ``data.root``; None for data that are not prepared.

    Raises:
        UsageError: If a preparation was not finished, or the manifest is damaged.
    """
    if root is None:
        return None
    if is_remote(root):
        return _remote(str(root))
    folder = Path(str(root)).expanduser()
    if (folder / JOURNAL).exists():
        raise UsageError(f"data.root={root}: its preparation is not finished; run the same command again")
    return parse_manifest(str(root), read_small(str(folder), MANIFEST))


@lru_cache
def _remote(root: str) -> dict[str, Any]:
    found = parse_manifest(root, read_small(root, MANIFEST))
    if found is None or not in_shards(found):
        what = "no prepared.json" if found is None else "single files, which cannot be streamed"
        raise UsageError(
            f"data.root={root}: {what}; expected what python -m dotcom.data.prepare --shards wrote, uploaded whole"
        )
    return found


def in_shards(prepared: Mapping[str, Any]) -> bool:
    """Whether a manifest, or what a run records of it, is of shards and not of single files."""
    return bool(prepared["form"] == "shards")


def parse_manifest(root: str, content: bytes | None) -> dict[str, Any] | None:
    """What a manifest says, once all that is read of it has the type that it should; None for no content.

    Raises:
        UsageError: If it is damaged, or of another version.
    """
    if content is None:
        return None
    where, again = f"data.root={root}: {MANIFEST}", "run python -m dotcom.data.prepare again"
    facts = parse_json(content, where, again)
    if isinstance(facts, dict) and facts.get("version", VERSION) != VERSION:
        raise UsageError(f"{where} has version {brief(facts['version'])}; expected {VERSION}")
    try:
        check_facts(facts)
        check_paths(facts)
    except UNPARSABLE as error:
        said = f" ({error.args[0]})" if isinstance(error, (ValueError, KeyError)) and error.args else ""
        raise UsageError(f"{where} is damaged{said}; {again}") from None
    return dict(facts)


def check_facts(facts: Mapping[str, Any]) -> None:
    """Raise ValueError for a value of another type than ``dotcom.data.manifest`` writes."""
    fitting = {
        "version": facts["version"] == VERSION,
        "form": facts["form"] in ("folder", "shards"),
        "kind": facts["kind"] in KINDS.values(),
        "data": is_text(facts["data"]),
        "digest": is_text(facts["digest"]),
        "classes": isinstance(facts["classes"], list)
        and bool(facts["classes"])
        and all(map(is_text, facts["classes"])),
        **{key: is_count(facts[key]) for key in ("side", "quality", "bytes")},
        "images": all(is_count(facts["images"][split]) for split in SPLITS),
        "source": isinstance(facts["source"], str),
    }
    if in_shards(facts):
        shards = [shard for split in SPLITS for shard in facts["shards"][split]]
        files = [*shards, *facts["extras"].values()]
        fitting["shards"] = all(is_count(shard["images"]) and is_text(shard["name"]) for shard in shards)
        fitting["bytes of files"] = all(is_count(file["bytes"]) for file in files)
        fitting["extras"] = facts["kind"] != "boxes" or all(photos_of(split) in facts["extras"] for split in SPLITS)
    if wrong := [key for key, fits in fitting.items() if not fits]:
        raise ValueError(wrong[0])


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 on that fits into 64 bits."""
    return type(value) is int and 0 <= value < LARGEST


def is_text(value: Any) -> bool:
    """Whether a value is text that is not empty, and can be written."""
    return isinstance(value, str) and bool(value) and is_unicode(value)


def photos_of(split: str) -> str:
    """The file of the boxes of a split, beside its shards."""
    return f"{split}/{PHOTOS}"


def check_paths(facts: Mapping[str, Any]) -> None:
    """Raise ValueError if a shard would be read, or kept, outside of its folder: names and sums are parts of paths."""
    shards = [shard for split in facts.get("shards", {}).values() for shard in split]
    for name, file in [*((shard["name"], shard) for shard in shards), *facts.get("extras", {}).items()]:
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\0" in name
            or not re.fullmatch(r"[0-9a-f]{64}", file["sha256"])
        ):
            raise ValueError(name)


def classes_of(count: Callable[..., int]) -> Callable[..., int]:
    """``count``, but for shards, whose manifest names the classes, the number of these."""

    def classes(root: str | None, *more: Any) -> int:
        facts = read_prepared(root)
        return len(facts["classes"]) if facts and in_shards(facts) else count(root, *more)

    return classes


def check_count(root: str | None, prepared: Mapping[str, Any] | None, split: str, found: int) -> None:
    """Raise UsageError if a split does not hold as many images as were prepared."""
    if prepared and found != (wrote := prepared["images"][split]):
        raise UsageError(
            f"data.root={root}: {found:,} {split} images, but {wrote:,} were prepared; "
            f"python -m dotcom.data.prepare --verify {root} names what is missing"
        )


def note_prepared(data: dict[str, Any]) -> None:
    """Write into the ``data`` of a configuration what was done to the images, since that changes the crops.

    Raises:
        UsageError: If the shards hold what this choice of ``data=`` cannot use.
    """
    data.pop("prepared", None)  # of the run that a checkpoint is from
    facts = read_prepared(data.get("root"))
    if facts is None:
        return
    function = str(data["dataset"]["_target_"]).rpartition(".")[2]
    if KINDS.get(function) != facts["kind"]:
        suited = [name for name, kind in KINDS.items() if kind == facts["kind"]]
        raise UsageError(
            f"data.root={data['root']}: it was prepared from data={facts['data']} and holds {facts['kind']}; expected "
            f"data={' or data='.join(suited)}{did_you_mean(function, suited)}"
        )
    data["prepared"] = {key: facts[key] for key in NOTED}
