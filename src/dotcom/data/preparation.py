"""Preparing a data set: every image once, in threads, with a journal of what is done, and in the end a manifest."""

import errno
import hashlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.progress import track

from dotcom.annotations.images import UnreadableImage
from dotcom.data.journal import Entry, Journal, file_facts
from dotcom.data.manifest import KEPT, close, target_of
from dotcom.data.pieces import SPLITS, Piece, Plan, plan_of
from dotcom.data.resized import Made, made_of
from dotcom.data.shards import Item, write_shard
from dotcom.errors import UsageError, listed
from dotcom.foreign import read_foreign
from dotcom.hardware import cores
from dotcom.prepared import JOURNAL, MANIFEST, parse_manifest
from dotcom.processes import FolderLock
from dotcom.record import whole

AT_ONCE = 64  # images for each thread, between two looks at the clock
FULL = (errno.ENOSPC, errno.EDQUOT)
LOCK = ".prepare.lock"


def prepare(data: dict[str, Any], options: Namespace) -> str:
    """Write ``options.out``, or go on with it; returns the closing line.

    Raises:
        UsageError: If the folder holds something else, the disk is full, or with ``strict`` an image is unreadable.
    """
    lock = FolderLock(options.out / LOCK)
    lock.acquire()
    job = Preparation(plan_of(data), str(data["root"]), options)
    try:
        facts = job.run()
    except OSError as error:
        if error.errno not in FULL:
            raise
        done = f"{len(job.journal.entries):,} of {len(job.units):,} {'shards' if options.shards else 'images'} are done"
        raise UsageError(
            f"{options.out}: {error.strerror}; {done}; make room, then run the same command again"
        ) from None
    (options.out / LOCK).unlink(missing_ok=True)
    counts = " + ".join(f"{facts['images'][split]:,}" for split in SPLITS)
    left = [f"{name} ({why})" for name, why in facts["left_out"]]
    lacking = f"; {len(left):,} could not be read and are left out: {listed(left, limit=3)}" if left else ""
    return f"{options.out}: {counts} images, {facts['side']} pixels, quality {facts['quality']}{lacking}"


class Preparation:
    """One data set on its way into one folder.

    Args:
        plan: What there is to do.
        root: Where the originals are.
        options: Of the command line.
    """

    def __init__(self, plan: Plan, root: str, options: Namespace) -> None:
        self.plan, self.root, self.options, self.out = plan, root, options, options.out
        names = [piece.name for split in SPLITS for piece in plan.pieces[split]]
        settings = {
            "form": "shards" if options.shards else "folder",
            "data": options.choice,
            "side": options.side,
            "quality": options.quality,
            "images": {split: len(plan.pieces[split]) for split in SPLITS},
            "names": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        } | ({"shard_images": options.shard_images} if options.shards else {})
        self.settings = settings
        self.finished = self._finished()
        self.units = dict(self._shards() if options.shards else ((piece.name, [piece]) for piece in self._pieces()))
        if not self.finished:
            self.journal = Journal(self.out / JOURNAL, settings)

    def run(self) -> dict[str, Any]:
        """Do what is not done; returns the manifest."""
        if self.finished:
            return self.finished
        todo = [key for key in self.units if not self._is_done(self.journal.entries.get(key))]
        threads = self.options.workers or cores()
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            step = 1 if self.options.shards else AT_ONCE * threads
            groups = [todo[first : first + step] for first in range(0, len(todo), step)]
            whole_work = -(-len(self.units) // step)
            for group in track(groups, "preparing", whole_work, completed=whole_work - len(groups), transient=True):
                write = self._write_shard if self.options.shards else self._write_files
                self.journal.add(write(group, pool.map))
        return close(self.plan, self.out, [self.journal.entries[key] for key in self.units], self.settings, self.root)

    def _pieces(self) -> Iterator[Piece]:
        return (piece for split in SPLITS for piece in self.plan.pieces[split])

    def _shards(self) -> Iterator[tuple[str, list[Piece]]]:
        """Shards by name; those of train mix all classes, in an order that is always the same."""
        size = self.options.shard_images
        for split in SPLITS:
            pieces = self.plan.pieces[split]
            order = np.random.default_rng(0).permutation(len(pieces)) if split == "train" else range(len(pieces))
            for number, first in enumerate(range(0, len(pieces), size)):
                yield f"{split}/shard-{number:05}.bin", [pieces[index] for index in order[first : first + size]]

    def _finished(self) -> dict[str, Any] | None:
        """The manifest, if there is one already."""
        there = {path.name for path in self.out.iterdir()} - {LOCK}
        if MANIFEST in there:
            facts = parse_manifest(str(self.out), read_foreign(self.out / MANIFEST)) or {}
            if differing := [key for key in KEPT if facts.get(key) != self.settings.get(key)]:
                key = differing[0]
                raise UsageError(
                    f"{self.out}: prepared with {key}={facts.get(key)}, not {self.settings.get(key)}; expected the "
                    "same command as before, or another folder"
                )
            if facts.get("names") != self.settings["names"]:
                raise UsageError(
                    f"{self.out}: prepared from {facts['source']}, when that held other images than {self.root} does; "
                    "expected another folder"
                )
            (self.out / JOURNAL).unlink(missing_ok=True)
            return facts
        if there and not {JOURNAL, f".{JOURNAL}.tmp"} & there:
            raise UsageError(f"{self.out}: it holds {listed(sorted(there), 3)}; expected a new or an empty folder")
        return None

    def _is_done(self, entry: Entry | None) -> bool:
        return entry is not None and all(
            (self.out / name).is_file() and (self.out / name).stat().st_size == size for name, size, _ in entry["files"]
        )

    def _made(self, piece: Piece) -> Made | Entry:
        """What became of a piece, or why it is left out."""
        try:
            return made_of(piece, self.options.side, self.options.quality)
        except UnreadableImage as error:
            if self.options.strict:
                raise UsageError(f"{piece.image}: {error}; without --strict it would be left out") from None
            return {"key": piece.name, "files": [], "left_out": [[piece.name, str(error)]], "sizes": []}

    def _write_files(self, keys: list[str], run: Callable[..., Iterator[Any]]) -> list[Entry]:
        return list(run(self._write_file, [self.units[key][0] for key in keys]))

    def _write_file(self, piece: Piece) -> Entry:
        made = self._made(piece)
        if not isinstance(made, Made):
            return made
        files = [self._write(made.name, made.image)]
        files += [self._write(piece.mask_name, made.mask)] if piece.mask else []
        return {"key": piece.name, "files": files, "left_out": [], "sizes": self._sizes([(piece, made)])}

    def _sizes(self, kept: list[tuple[Piece, Made]]) -> list[Any]:
        """What happened to the photos, which their boxes have to follow."""
        if self.plan.kind != "boxes":
            return []
        return [[piece.name, made.name, made.before, made.after] for piece, made in kept]

    def _write(self, name: str, content: bytes) -> list[Any]:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            temporary.write_bytes(content)
        return [name, len(content), hashlib.sha256(content).hexdigest()]

    def _write_shard(self, keys: list[str], run: Callable[..., Iterator[Any]]) -> list[Entry]:
        (key,) = keys
        pieces = self.units[key]
        all_made = list(run(self._made, pieces))
        kept = [(piece, made) for piece, made in zip(pieces, all_made, strict=True) if isinstance(made, Made)]
        items: list[Item] = [(made.name, made.image, target_of(self.plan.kind, piece, made)) for piece, made in kept]
        entry: Entry = {
            "key": key,
            "images": len(items),
            "files": [],
            "left_out": [left for made in all_made if not isinstance(made, Made) for left in made["left_out"]],
            "sizes": self._sizes(kept),
        }
        if items:
            path = self.out / key
            path.parent.mkdir(exist_ok=True)
            entry["config"] = write_shard(path, items)
            entry["files"] = [file_facts(self.out, key)]
        return [entry]
