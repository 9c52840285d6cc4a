"""An end to waiting for a process that is lost: its machine without power, its cable unplugged."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies.launchers import subprocess_script

from dotcom.errors import GO_ON, LOST, UsageError
from dotcom.record import now, read_json, write_json
from dotcom.world import is_first

LOOK = 0.5  # seconds between two looks at the processes that this one has started
GRACE = 5.0  # seconds from the death of one of them to the end of this one, if it does not end by itself
PATIENCE = 60.0  # the same if all were asked to stop: the first one may have more to write
STOPPED = (130, 143)  # exit codes of processes that were asked to stop
BEAT = 3.0  # seconds between two signs of life
SILENCE = 30  # seconds without one after which a process counts as lost


class Companions(L.Callback):
    """Ends this process with one line when another one of the run has fallen silent.

    A process that dies closes its connections, and whoever waits for it gets an error at once. A machine that loses its
    power or its network does not: the others would wait as long as the longest collective operation may take, half an
    hour. So each process leaves a sign of life in the store through which they met, and reads those of the others.
    Waiting itself is fine: for the first one to unpack the data, to evaluate, to write to a slow disk.

    The end comes from a thread, because the main one cannot be interrupted while it waits in a collective operation.

    Note: The limit of PyTorch for one operation stays as it is.

    Args:
        folder: Where ``run.json`` is.
    """

    def __init__(self, folder: str) -> None:
        self.record = Path(folder) / "run.json"
        self.stopped = threading.Event()
        self.stopped.set()  # nobody watches yet
        vars(subprocess_script)["_launch_process_observer"] = self.watch_children

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.world_size == 1:
            return
        self._agree(trainer)
        if self.stopped.is_set():
            self.stopped = threading.Event()
            store = dist.group.WORLD.get_group_store().clone()  # type: ignore[union-attr]
            pulse = Pulse(store, trainer.global_rank, trainer.world_size)
            threading.Thread(target=pulse.beat, args=(self.stopped,), daemon=True).start()
            threading.Thread(
                target=self._watch, args=(pulse, self.stopped, trainer.is_global_zero), daemon=True
            ).start()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "validate" and trainer.world_size > 1:  # after the last one they end one by one
            trainer.strategy.barrier("companions")  # the first may still write: the others are to be heard meanwhile
            self.stopped.set()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.stopped.set()  # it ends anyhow

    def watch_children(self, children: "Sequence[subprocess.Popen[bytes]]") -> None:
        """In the first process of a machine: end with the others if one of them dies, in whatever phase.

        In place of Lightning's own watch, which ends the first process without a word, by SIGKILL.
        """
        threading.Thread(target=self._watch_children, args=(children,), daemon=True).start()

    def _watch_children(self, children: "Sequence[subprocess.Popen[bytes]]") -> None:
        while not (died := next((child for child in children if child.poll()), None)):
            if all(child.poll() == 0 for child in children):
                return
            time.sleep(LOOK)
        code = died.returncode
        time.sleep(PATIENCE if code in STOPPED else GRACE)  # usually this process ends by itself, with more to say
        for child in children:
            child.kill()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        end_run(self.record, f"process {children.index(died) + 1} of this machine {how}", is_first())

    def _watch(self, pulse: "Pulse", stopped: threading.Event, first: bool) -> None:
        """End this process once another one has been silent for too long."""
        while not stopped.wait(1.0):
            if (lost := pulse.silent()) is not None:
                end_run(self.record, f"no sign of life from process {lost} for {SILENCE} s", first)

    def _agree(self, trainer: L.Trainer) -> None:
        """All processes begin at a checkpoint, or none of them."""
        found: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(found, trainer.ckpt_path is not None)
        if len(set(found)) > 1:
            without = ", ".join(str(rank) for rank, there in enumerate(found) if not there)
            raise UsageError(
                f"resume=true: process {without} of {trainer.world_size} found no last.ckpt in hydra.run.dir, "
                "others did; copy it to every node, or choose a folder that all of them see"
            )


def end_run(record: Path, reason: str, first: bool) -> None:
    """End this process at once, from whichever thread, with a line that says why; note it in ``run.json``."""
    try:
        print(f"error: {LOST} ({reason}); {GO_ON}", file=sys.stderr, flush=True)
        if first:
            write_json(record, read_json(record) | {"state": "failed", "ended": now()})
    finally:  # also where the disk is full
        os._exit(2)


class Pulse:
    """Signs of life in a store that all processes see.

    Silence is counted in seconds of watching, not read from the clock: where a whole run was paused (by Ctrl-Z, by a
    scheduler that suspends jobs, with its virtual machine), nobody has been silent.

    Args:
        store: A connection of its own.
        rank: Of this process.
        world: How many there are.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.store, self.own = store, f"pulse/{rank}"
        self.others = [other for other in range(world) if other != rank]
        self.counts: list[Any] = [None] * len(self.others)
        self.heard = [0] * len(self.others)  # in which second of watching
        self.seconds = 0

    def beat(self, stopped: threading.Event) -> None:
        """Leave a sign of life and look for those of the others, until the end."""
        keys = [f"pulse/{other}" for other in self.others]
        with suppress(RuntimeError):  # the store is gone: nothing is heard any more
            for number in count():
                self.store.set(self.own, str(number))
                counts = self.store.multi_get(keys) if self.store.check(keys) else self.counts
                at = self.seconds
                self.heard = [
                    when if before == after else at
                    for when, before, after in zip(self.heard, self.counts, counts, strict=True)
                ]
                self.counts = counts
                if stopped.wait(BEAT):
                    return

    def silent(self) -> int | None:
        """A process that has not been heard for too long, if there is one; to be asked once a second."""
        self.seconds += 1
        late = self.seconds - SILENCE
        return next((other for other, when in zip(self.others, self.heard, strict=True) if when < late), None)
