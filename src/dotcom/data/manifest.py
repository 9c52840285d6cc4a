"""What closes a preparation: annotations that fit the images, the sums of all files, and ``prepared.json``."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dotcom.data.coco_scaled import photos_scaled, write_coco
from dotcom.data.journal import Entry, file_facts
from dotcom.data.pieces import SPLITS, Piece, Plan, Split
from dotcom.data.resized import Made
from dotcom.data.shards import INDEX, write_index
from dotcom.errors import UsageError
from dotcom.prepared import JOURNAL, MANIFEST, SUMS, VERSION, in_shards, photos_of
from dotcom.record import whole, write_json
from dotcom.text import visible

KEPT = ("form", "data", "side", "quality", "shard_images")  # settings that must be the same to go on


def target_of(kind: str, piece: Piece, made: Made) -> bytes:
    """What stands beside an image in a shard: its label in digits, its mask, or nothing."""
    return {"labels": str(piece.label).encode(), "masks": made.mask, "boxes": b""}[kind]


def close(plan: Plan, out: Path, entries: Sequence[Entry], settings: dict[str, Any], root: str) -> dict[str, Any]:
    """Write what is not an image, and last of all the manifest; returns it.

    Args:
        plan: What there was to do.
        out: The prepared folder.
        entries: The journal, in the order of the plan.
        settings: Its first line.
        root: Where the originals are.
    """
    shards = in_shards(settings)
    of_split = {
        split: [entry for entry in entries if split_of(plan, entry["key"], shards) == split] for split in SPLITS
    }
    counts = {
        split: sum(entry["images"] if shards else bool(entry["files"]) for entry in of_split[split]) for split in SPLITS
    }
    for split, count in counts.items():
        if not count:
            raise UsageError(f"data.root={root}: not one {split} image could be read")
    extras = (shard_extras if shards else folder_extras)(plan, out, of_split, root)
    extra_files = [file_facts(out, name) for name in extras]
    files = [*(file for entry in entries for file in entry["files"]), *extra_files]
    sums = "".join(f"{sha256}  {size}  {name}\n" for name, size, sha256 in files)
    with whole(out / SUMS) as temporary:
        temporary.write_text(sums)
    facts = described(plan, settings, root) | {
        "images": counts,
        "left_out": [left for entry in entries for left in entry["left_out"]],
        "files": len(files),
        "bytes": sum(size for _, size, _ in files),
        "digest": hashlib.sha256(sums.encode()).hexdigest()[:16],
    }
    if shards:
        facts["shards"] = {
            split: [shard_facts(entry) for entry in of_split[split] if entry["files"]] for split in SPLITS
        }
        facts["extras"] = {name: {"bytes": size, "sha256": sha256} for name, size, sha256 in extra_files}
    write_json(out / MANIFEST, facts)
    (out / JOURNAL).unlink()
    return facts


def described(plan: Plan, settings: dict[str, Any], root: str) -> dict[str, Any]:
    """What the manifest says of the way in which the data were made."""
    return {
        "version": VERSION,
        **{key: settings[key] for key in (*KEPT, "names") if key in settings},
        "kind": plan.kind,
        "source": root,
        "classes": plan.classes,
        "versions": {name: metadata.version(name) for name in ("dotcom", "torch", "torchvision", "pillow")},
    }


def split_of(plan: Plan, key: str, shards: bool) -> Split:
    """Of an entry of the journal."""
    if shards:
        return "train" if key.startswith("train/") else "val"
    return "train" if key in plan.names["train"] else "val"


def shard_facts(entry: Entry) -> dict[str, Any]:
    """What has to be known to read a shard."""
    ((name, size, sha256),) = entry["files"]
    return {"name": name, "images": entry["images"], "bytes": size, "sha256": sha256}


def shard_extras(plan: Plan, out: Path, entries: dict[Split, list[Entry]], root: str) -> list[str]:
    """Write litdata's index, and the boxes; returns the names."""
    names = []
    for split in SPLITS:
        written = [entry for entry in entries[split] if entry["files"]]
        write_index(out / split, [shard_facts(entry) for entry in written], written[0]["config"])
        names.append(f"{split}/{INDEX}")
        if plan.kind == "boxes":
            sizes = [size for entry in written for size in entry["sizes"]]
            with whole(out / photos_of(split)) as temporary:
                temporary.write_text(json.dumps(photos_scaled(plan, split, sizes)))
            names.append(photos_of(split))
    return names


def folder_extras(plan: Plan, out: Path, entries: dict[Split, list[Entry]], root: str) -> list[str]:
    """Write annotations in the layout of the source; returns the names."""
    if plan.kind == "masks":
        with whole(out / "classes.txt") as temporary:
            temporary.write_text("".join(f"{visible(name)}\n" for name in plan.classes), encoding="utf-8")
        return ["classes.txt"]
    if plan.kind == "labels":
        return []
    for split in SPLITS:
        file = plan.places[split][1]
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        with whole(out / file) as temporary:
            if split == "val" and plan.is_split and all(entry["files"] for entry in entries[split]):
                shutil.copyfile(plan.sources[split], temporary)
            else:
                write_coco(plan, split, [size for entry in entries[split] for size in entry["sizes"]], temporary)
    return [plan.places[split][1] for split in SPLITS]
