"""Two hosts on this machine: network namespaces with a cable between them, and ``train.py`` in each."""

import ctypes
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from conftest import REPO

NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <linux/sched.h>
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29511
HEAVY = ["torch", "lightning.pytorch", "wandb", "matplotlib.figure", "torchmetrics", "torchvision"]
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as train.py has it, before torch is imported
CONTEXT = multiprocessing.get_context("forkserver")  # a host that has imported what all import starts in no time
CONTEXT.set_forkserver_preload([*HEAVY, "dotcom.callbacks", "dotcom.tasks", "dotcom.data", "dotcom.report"])


def ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.returncode == 0


class Network:
    """Two namespaces, joined by a pair of virtual network cards."""

    def __init__(self) -> None:
        self.names = [f"dotcom{os.getpid()}h{number}" for number in (0, 1)]
        self.cards = [f"dc{os.getpid()}h{number}" for number in (0, 1)]

    def __enter__(self) -> "Network":
        for name in self.names:
            ip("netns", "add", name)
        peer = ["peer", "name", self.cards[1], "netns", self.names[1]]
        ip("link", "add", self.cards[0], "netns", self.names[0], "type", "veth", *peer)
        for name, card, address in zip(self.names, self.cards, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", card)
            ip("-n", name, "link", "set", "lo", "up")
        self.plug("up")
        return self

    def plug(self, state: str) -> None:
        """The cable in or out: ``up`` or ``down``."""
        for name, card in zip(self.names, self.cards, strict=True):
            ip("-n", name, "link", "set", card, state)

    def __exit__(self, *error: object) -> None:
        for name in self.names:
            ip("netns", "delete", name, check=False)


class Host:
    """``python train.py`` in a namespace, or in none."""

    def __init__(self, log: Path, overrides: list[str], namespace: str | None = None, **env: str) -> None:
        self.log = log
        self.process = CONTEXT.Process(target=train, args=(namespace, env, overrides, str(log)))
        self.process.start()

    def kill(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGKILL)

    def end(self, seconds: float = 600) -> tuple[int | None, str]:
        """Exit code and all that it printed."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
        return code, self.log.read_text()


def train(namespace: str | None, env: dict[str, str], overrides: list[str], log: str) -> None:
    """Become the process that ``python train.py OVERRIDES`` would be on a host."""
    if namespace:
        with open(f"/var/run/netns/{namespace}") as file:
            assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), NEW_NETWORK) == 0
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.update(env | {"OMP_NUM_THREADS": "1"})  # or Lightning takes all cores, and other kernels with them
    torch.set_num_threads(1)
    sys.argv = [str(REPO / "train.py"), *overrides]
    runpy.run_path(sys.argv[0], run_name="__main__")


class Losses(L.Callback):
    """Writes the training losses of each process to ``losses-RANK.json``, one line a step."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        line = json.dumps([trainer.global_step, float(outputs["loss"])])
        with (self.folder / f"losses-{trainer.global_rank}.json").open("a") as file:
            file.write(f"{line}\n")


def losses(folder: Path, rank: int) -> dict[int, float]:
    """By optimiser step, the last one where a step was done twice."""
    path = folder / f"losses-{rank}.json"
    return dict(map(json.loads, path.read_text().splitlines())) if path.exists() else {}


def wait_until(reached: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)
