"""Which samples a process sees, in which order, with which random numbers, and batches without the unreadable ones."""

import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate
from torchdata.stateful_dataloader import StatefulDataLoader

from dotcom.errors import UsageError

LAST_WORDS = 20  # seconds that a loader process goes on after SIGTERM

Draw = tuple[int, int]  # index of a sample, and the seed of its augmentation


class Share(Sampler[int]):
    """Every ``world``-th index from ``rank`` on: each sample once over all processes, none repeated."""

    def __init__(self, size: int, rank: int, world: int) -> None:
        self.indices = range(rank, size, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


class SeededOrder(Sampler[Draw]):
    """An order that depends on (seed, epoch), and a seed for each place in it.

    Several processes take turns in both, so that N of them see in a step what one would see with N times the batch.
    Seeds are spread out, because seed + epoch would give seed 1 the order that seed 0 has an epoch later.

    Args:
        sampler: One whose order depends on the epoch alone, with ``rank`` and ``num_replicas`` of the processes.
        seed: Of the run.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self.sampler, self.seed = sampler, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.sampler.set_epoch(self.seed * 1_000_003 + epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Draw]:
        world = self.sampler.num_replicas
        draws = np.random.default_rng((self.seed, self.epoch, 0)).integers(2**32, size=len(self) * world)
        return zip(self.sampler, draws[self.sampler.rank :: world].tolist(), strict=True)


class OwnDraws(Dataset[Any]):
    """Augments each sample with random numbers of its own, whichever process does it and whatever came before.

    A run that is resumed in the middle of an epoch thus sees the same images as one that was not stopped. The
    random numbers of the process stay untouched; only those of the CPU, which the transforms draw, are replaced.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Any:
        index, seed = draw
        generator = torch.default_generator  # torch.manual_seed would reseed the GPU, too; fork_rng takes twice as long
        before = generator.get_state()
        generator.manual_seed(seed)
        try:
            return self.dataset[index]
        finally:
            generator.set_state(before)


class ReadableBatches(StatefulDataLoader[Any]):  # type: ignore[misc]
    """Passes over batches in which no image could be read; its state is the place in the epoch.

    Raises:
        ValueError: At the end, if there was nothing else.
        UsageError: If a state is from another number of loader processes.
    """

    def __iter__(self) -> Any:
        """Begins with the first batch, not before: by then the epoch and the place in it are known."""
        empty = len(self) > 0
        for batch in super().__iter__():
            if batch is not None:
                empty = False
                yield batch
        if empty:
            raise ValueError("data: not one image of a split could be used; the warnings above say why")

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() if self._iterator else {}  # or it would begin, in the order of some epoch

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not state_dict:
            return
        workers = len(state_dict.get("_snapshot", {}).get("_worker_snapshots", ()))
        if workers != self.num_workers:
            raise UsageError(
                f"data.num_workers={self.num_workers}: the checkpoint is from the middle of an epoch that was loaded "
                f"with {workers}; add data.num_workers={workers}"
            )
        super().load_state_dict(state_dict)


def outlive_the_signal(worker: int) -> None:
    """Let a loader process serve on while the training process, told to stop as well, finishes its step.

    Ctrl-C and a scheduler's signals reach all processes of a job. SIGTERM still ends this one, a little later.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_WORDS))
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


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
