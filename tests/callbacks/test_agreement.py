"""Processes that agree on the CPU: on a stop, and on a loss that is no number, all of them in the same step."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from dotcom.callbacks import FiniteLoss
from dotcom.callbacks.agreement import Agreement
from dotcom.errors import UsageError

BAD = 3  # the step in which the second process has no number


def asked(rank: int, folder: Path) -> Any:
    """The largest of what two processes ask for, twice."""
    agreement, answers = Agreement(2), []
    for round_ in range(2):
        agreement.ask(rank, 5 - rank, round_)
        answers.append(agreement.answer())
    return answers, agreement.answer()


def met(rank: int, folder: Path) -> Any:
    """The step in which a process is stopped, and what it says."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(world_size=2, global_rank=rank, global_step=0, current_epoch=0, strategy=strategy)
    callback = FiniteLoss(str(folder))
    callback.setup(trainer, None, "fit")
    for step in range(10):
        trainer.global_step = step
        callback.on_train_batch_start(trainer, None, None, step)
        loss = torch.tensor(torch.nan if rank == 1 and step >= BAD else 1.0)
        try:
            callback.on_train_batch_end(trainer, None, {"loss": loss}, torch.tensor(step), step)
        except UsageError as error:
            return step, str(error)
    return None


def entered(rank: int, folder: Path, run: Callable[[int, Path], Any], results: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    results.put((rank, run(rank, folder)))
    dist.barrier()
    dist.destroy_process_group()


def together(run: Callable[[int, Path], Any], folder: Path) -> list[Any]:
    """What two processes return, the first one's first."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=entered, args=(rank, folder, run, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    return [found[0], found[1]]


def test_agreement__is_the_largest_of_each_value(tmp_path):
    answers = [[1, 5, 0], [1, 5, 1]]
    assert together(asked, tmp_path) == [(answers, []), (answers, [])]


def test_agreement__of_one_process_is_its_own():
    agreement = Agreement()
    agreement.ask(3, 0)
    assert agreement.answer() == [3, 0]
    assert agreement.answer() == []


def test_loss_that_is_no_number__stops_all_processes_in_the_same_step(tmp_path):
    (first, said), (second, told) = together(met, tmp_path)
    assert first == second == BAD + 1  # what a process has met is known to all after the step that begins next
    assert said == "stopped, because process 1 met a number that is none"
    assert told.startswith(f"step {BAD} of epoch 1: loss nan; try a lower optimizer.lr")
    bad = torch.load(tmp_path / "nan_batch.pt", weights_only=True)
    assert bad["step"] == int(bad["batch"]) == BAD
    assert bad["loss"] != pytest.approx(bad["loss"])
