"""Samples with random numbers of their own, batches without the unreadable ones, and the place in an epoch."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from dotcom.data.order import Draw
from dotcom.errors import UsageError

LAST_WORDS = 20  # seconds that a loader process goes on after SIGTERM


class OwnDraws(Dataset[Any]):
    """Augments each sample with random numbers of its own, whichever process does it and whatever came before.

    A run that is resumed in the middle of an epoch thus sees the same images as one that was not stopped. The
    random numbers of the process stay untouched; only those of the CPU, which the transforms draw, are replaced.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw | int) -> Any:
        # trainer.overfit_batches brings an order of its own: each sample then looks the same in every epoch
        index, seed = (draw, draw) if isinstance(draw, int) else draw
        generator = torch.default_generator  # torch.manual_seed would reseed the GPU, too; fork_rng takes twice as long
        before = generator.get_state()
        generator.manual_seed(seed)
        try:
            return self.dataset[index]
        finally:
            generator.set_state(before)


class ReadableBatches(DataLoader[Any]):
    """Passes over batches in which no image could be read; its state is the number of samples already drawn.

    Order and random numbers of each sample depend on its place in the epoch alone, so that a pass goes on at any
    place, with any number of loader processes.

    Raises:
        ValueError: At the end, if there was nothing else.
        UsageError: At such a batch, if other processes train on theirs meanwhile, and would wait for it for ever.
    """

    in_step = False  # with other processes, batch by batch
    drawn = 0  # samples of this pass, with those that could not be read
    skip = 0  # samples that the next pass begins with

    def __iter__(self) -> Any:
        """Begins with the first batch, not before: by then the epoch and the place in it are known."""
        self.drawn, self.skip = self.skip, 0
        self.sampler.start = self.drawn  # type: ignore[attr-defined]
        empty = len(self) > 0 and not self.drawn
        for batch in self._batches():
            self.drawn += self.batch_size or 1
            if batch is not None:
                empty = False
                yield batch
            elif self.in_step:
                raise UsageError("data: not one image of a batch could be read; data.check=true names such files")
        self.drawn = 0
        if empty:
            raise ValueError("data: not one image of a split could be used; the warnings above say why")

    def _batches(self) -> Iterator[Any]:
        try:
            yield from super().__iter__()
        except UsageError as error:  # that of a loader process brings its traceback along
            raise UsageError(str(error).strip().rpartition("UsageError: ")[2]) from None

    def state_dict(self) -> dict[str, Any]:
        drawn = self.drawn or self.skip
        return {"samples": drawn} if drawn else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        drawn = samples_drawn(state_dict, self.batch_size or 1)
        self.skip = drawn if drawn < len(self) * (self.batch_size or 1) else 0  # a complete pass is followed by another


def samples_drawn(state: Mapping[str, Any], batch_size: int) -> int:
    """From the state of a loader; earlier checkpoints hold that of torchdata's, which counts batches."""
    if "samples" in state or not state:
        return int(state.get("samples", 0))
    if "_snapshot" in state:  # with loader processes
        return batch_size * (state["_snapshot"]["_snapshot_step"] + state["_steps_since_snapshot"])
    return int(batch_size * state["_num_yielded"])


def begin(worker: int, threads: int = 1) -> None:
    """Let a loader process serve on while the training process, told to stop as well, finishes its step.

    Ctrl-C and a scheduler's signals reach all processes of a job. SIGTERM still ends this one, a little later.
    """
    torch.set_num_threads(threads)
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
