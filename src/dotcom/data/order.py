"""Which samples a process sees, in which order, and the seed of each sample's random numbers."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from dotcom.errors import UsageError

WINDOW = 8  # shards that are mixed with each other

Draw = tuple[int, int]  # index of a sample, and the seed of its augmentation


class Share(Sampler[int]):
    """Every ``world``-th index from ``rank`` on: each sample once over all processes, none repeated.

    Raises:
        UsageError: If there are fewer samples than processes: one without any would wait for the others' metrics.
    """

    def __init__(self, size: int, rank: int, world: int) -> None:
        if size < world:
            raise UsageError(f"data: {size} validation samples for {world} processes; expected one for each, or more")
        self.indices = range(rank, size, world)
        self.start = 0  # as in SeededOrder

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices[self.start :])


class Shuffle(Sampler[int]):
    """A random order that depends on the epoch alone, dealt out to the processes: no sample twice, none padded.

    Every process gets equally many, because a batch more would wait for the others for ever. So up to ``world - 1``
    samples are left out of an epoch, others in the next one.

    Args:
        size: Of the data set.
        rank: Of this process.
        world: Number of processes.
        shards: How many samples stand in each shard, if they are streamed: the order then goes through few shards at
            a time, so that each is fetched once and ahead of its use.
        fetch: Called with the numbers of the shards that come into use next.

    Raises:
        UsageError: If there are fewer samples than processes.
    """

    def __init__(
        self,
        size: int,
        rank: int,
        world: int,
        shards: Sequence[int] | None = None,
        fetch: Callable[[list[int]], None] | None = None,
    ) -> None:
        if size < world:
            raise UsageError(f"data: {size} training samples for {world} processes; expected one for each, or more")
        self.size, self.rank, self.num_replicas = size, rank, world
        self.shards, self.fetch = shards, fetch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.epoch)
        if self.shards is None:
            own = torch.randperm(self.size, generator=generator)[self.rank :: self.num_replicas]
            yield from own[: len(self)].tolist()
            return
        starts = torch.tensor([0, *self.shards]).cumsum(0).tolist()
        shuffled = torch.randperm(len(self.shards), generator=generator).tolist()
        windows = [shuffled[first : first + WINDOW] for first in range(0, len(shuffled), WINDOW)]
        place, end = 0, len(self) * self.num_replicas
        for number, window in enumerate(windows):
            if self.fetch:
                self.fetch([shard for later in windows[number : number + 2] for shard in later])
            samples = torch.cat([torch.arange(starts[shard], starts[shard + 1]) for shard in window])
            mixed = samples[torch.randperm(len(samples), generator=generator)].tolist()
            yield from (sample for at, sample in enumerate(mixed[: max(0, end - place)], place) if self._is_own(at))
            place += len(mixed)

    def _is_own(self, place: int) -> bool:
        return place % self.num_replicas == self.rank


class SeededOrder(Sampler[Draw]):
    """An order that depends on (seed, epoch), and a seed for each place in it, however many processes share them.

    Seeds are spread out, because seed + epoch would give seed 1 the order that seed 0 has an epoch later.

    Args:
        sampler: One whose order depends on the epoch alone, with the ``rank`` of this process of ``num_replicas``.
        seed: Of the run.

    Attributes:
        start: Samples to pass over, in a run that goes on in the middle of an epoch.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self.sampler, self.seed = sampler, seed
        self.start = 0
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.sampler.set_epoch(self.seed * 1_000_003 + epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Draw]:
        rank, world = self.sampler.rank, self.sampler.num_replicas
        draws = np.random.default_rng((self.seed, self.epoch, 0)).integers(2**32, size=len(self) * world)[rank::world]
        return islice(zip(self.sampler, draws.tolist(), strict=True), self.start, None)


def train_order(dataset: Any, rank: int, world: int, seed: int, repeats: int) -> SeededOrder:
    """What a process trains on in an epoch, and in which order.

    Args:
        dataset: Of the train split; from shards, it has ``shards``.
        rank: Of this process.
        world: Number of processes.
        seed: Of the run.
        repeats: How often each image is shown; an epoch keeps its length.
    """
    shards = getattr(dataset, "shards", None)
    if repeats == 1:
        plain = Shuffle(len(dataset), rank, world, shards and shards.counts, shards and shards.ahead)
        return SeededOrder(plain, seed)
    try:
        from timm.data.distributed_sampler import RepeatAugSampler
    except ImportError:
        raise ImportError("data.repeats needs timm: pip install 'dotcom[timm]'") from None
    make: Any = RepeatAugSampler
    return SeededOrder(make(dataset, world, rank, num_repeats=repeats, selected_round=0), seed)
