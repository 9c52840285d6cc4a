"""Data sets that are read from shards, one item at a time, in whatever order they are asked for."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from threading import Thread
from typing import Any

from rich.progress import track
from torch import Tensor

from dotcom.data.boxes import BoxFiles
from dotcom.data.coco_scaled import photos_from
from dotcom.data.files import ImageFiles
from dotcom.data.masks import MaskFiles
from dotcom.data.module import Split
from dotcom.data.shards import Item, read_item
from dotcom.errors import UsageError
from dotcom.foreign import LARGE, parse_json, read_foreign
from dotcom.object_store import is_remote
from dotcom.prepared import photos_of, read_prepared
from dotcom.stores import Unusable, obtained, tried


class Shards(Sequence[Path]):
    """The items of a split, by their number; as a sequence, where each of them is, for messages.

    Args:
        root: ``data.root``: a folder, or the address of one in an object store.
        split: Train or val.

    Attributes:
        counts: How many items each shard has.
    """

    def __init__(self, root: str, split: Split) -> None:
        self.root = root
        self.facts = read_prepared(root) or {}
        self.shards = self.facts["shards"][split]
        self.counts = [shard["images"] for shard in self.shards]
        self.starts = [0, *accumulate(self.counts)]
        self.ready: dict[int, Path] = {}  # shards that this process has checked
        self.asked: set[int] = set()  # shards that it has fetched ahead, or tried to

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: Any) -> Any:
        shard, position = self._place(index)
        return Path(self.shards[shard]["name"]) / str(position)

    def item(self, index: int) -> Item:
        """Name, image and target.

        Raises:
            UsageError: If its shard is missing or damaged, after several tries.
        """
        shard, position = self._place(index)

        def read() -> Item:
            path = self.ready.pop(shard, None)
            if path is None or not path.exists():  # another process may have made room for its shards
                path = self._obtain(shard)
            item = read_item(path, position)
            self.ready[shard] = path  # not after a failure: then it is looked for again
            return item

        return tried(self.root, self.shards[shard]["name"], read)

    def ahead(self, shards: Iterable[int]) -> None:
        """Begin to fetch shards that are about to be used; what fails is tried again when it is its turn."""
        new = [shard for shard in shards if shard not in self.asked]
        self.asked |= set(new)
        if new and is_remote(self.root):
            Thread(target=self._obtain_quietly, args=(new,), daemon=True).start()

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        shard = bisect_right(self.starts, index) - 1
        return shard, index - self.starts[shard]

    def check(self) -> None:
        """Obtain every shard, with a progress bar."""
        for shard in track(range(len(self.shards)), "checking shards", transient=True):
            tried(self.root, self.shards[shard]["name"], partial(self._obtain, shard))

    def _obtain(self, shard: int) -> Path:
        facts = self.shards[shard]
        return obtained(self.root, facts["name"], facts["bytes"], facts["sha256"])

    def _obtain_quietly(self, shards: list[int]) -> None:
        for shard in shards:
            try:
                self._obtain(shard)
            except (Unusable, UsageError, OSError):
                return


class Streamed(ImageFiles):
    """Samples whose images come from shards."""

    shards: Shards

    def source(self, index: int) -> bytes:
        return self.shards.item(index)[1]

    def check(self) -> None:
        """Every shard is there and holds what it should.

        Raises:
            UsageError: Naming the first that does not.
        """
        self.shards.check()


class StreamedImages(Streamed):
    """As :class:`dotcom.data.folders.ImageFolder`."""

    def __init__(self, shards: Shards, transform: Callable[[Tensor], Tensor]) -> None:
        super().__init__(shards, shards.facts["classes"])
        self.shards, self.transform = shards, transform

    def __getitem__(self, index: int) -> tuple[Tensor, int] | None:
        _, content, label = self.shards.item(index)
        image = self.decoded(index, content)
        if not (label.isdigit() and len(label) < 10 and int(label) < len(self.classes)):
            self.skip(index, f"its label is {label[:20]!r}; expected a number below {len(self.classes)}")
            return None
        return None if image is None else (self.transform(image), int(label))


class StreamedBoxes(Streamed, BoxFiles):
    """As :class:`dotcom.data.boxes.BoxFiles`; all boxes are read at the start."""

    def __init__(self, shards: Shards, split: Split, transform: Callable[..., Any]) -> None:
        name = photos_of(split)
        facts = shards.facts["extras"][name]
        path = tried(shards.root, name, partial(obtained, shards.root, name, facts["bytes"], facts["sha256"]))
        where = f"{shards.root.rstrip('/')}/{name}"
        content = parse_json(read_foreign(path, where, LARGE), where, "expected what dotcom.data.prepare wrote")
        BoxFiles.__init__(self, photos_from(content, shards.facts["classes"], len(shards), where), split, transform)
        self.shards = shards

    check = Streamed.check


class StreamedMasks(Streamed, MaskFiles):
    """As :class:`dotcom.data.masks.MaskFiles`."""

    def __init__(self, shards: Shards, transform: Callable[..., Any]) -> None:
        MaskFiles.__init__(self, [(path, path) for path in shards], shards.facts["classes"], transform)
        self.shards = shards

    def mask_source(self, index: int) -> BytesIO:
        return BytesIO(self.shards.item(index)[2])

    check = Streamed.check


def streamed(split: Split, root: str, transform: Callable[..., Any]) -> Streamed:
    """What was prepared as shards, whichever set it came from."""
    shards = Shards(root, split)
    if shards.facts["kind"] == "boxes":
        return StreamedBoxes(shards, split, transform)
    return (StreamedMasks if shards.facts["kind"] == "masks" else StreamedImages)(shards, transform)
