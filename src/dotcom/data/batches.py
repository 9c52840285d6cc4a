"""Which samples a process sees, in which order, and batches without the unreadable ones."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, default_collate


class Share(Sampler[int]):
    """Every ``world``-th index from ``rank`` on: each sample once over all processes, none repeated."""

    def __init__(self, size: int, rank: int, world: int) -> None:
        self.indices = range(rank, size, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


class SeededOrder(Sampler[int]):
    """An order that depends on (seed, epoch), from a sampler whose order depends on the epoch alone.

    Seeds are spread out, because seed + epoch would give seed 1 the order that seed 0 has an epoch later.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self.sampler, self.seed = sampler, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(self.seed * 1_000_003 + epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        return iter(self.sampler)


class ReadableBatches(DataLoader[Any]):
    """Passes over batches in which no image could be read.

    Raises:
        ValueError: At the end, if there was nothing else.
    """

    def __iter__(self) -> Any:
        empty = len(self) > 0
        for batch in super().__iter__():
            if batch is not None:
                empty = False
                yield batch
        if empty:
            raise ValueError("data: not one image of a split could be used; the warnings above say why")


def stack_readable(samples: Sequence[Any], least: int = 1) -> Any:
    """Stack samples into a batch, leaving out those that could not be read (None); None if none is left.

    Images, labels and masks are stacked; targets that are dicts (boxes) stay a list.

    Args:
        samples: Pairs (image, target), or None.
        least: Fewer readable samples than this are repeated; batch norm cannot train on a single one.
    """
    readable = [sample for sample in samples if sample is not None]
    if not readable:
        return None
    readable *= -(-least // len(readable))
    if len(sizes := {tuple(image.shape[-2:]) for image, _ in readable}) > 1:
        raise ValueError(f"images of {len(sizes)} sizes cannot stand in one batch; set data.val_batch_size=1")
    images, targets = zip(*readable, strict=True)
    return torch.stack(images), list(targets) if isinstance(targets[0], dict) else default_collate(list(targets))
