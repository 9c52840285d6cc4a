"""A run that is killed and resumed ends as if never stopped: weights, optimiser, average, random numbers, history."""

import csv
import errno
import os
import re
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import train as train_module

from dotcom.errors import UsageError
from dotcom.record import Record, read_json, write_json
from files import make_coco, make_masks
from test_checked import asked

SMALL = "image_size=64 hardware=cpu data.batch_size=2 epochs=2 ema=0.9"
TASKS = {
    "classification": "data=image_folder data.mixup=0.2 data.cutmix=1.0 data.repeats=2",
    "detection": "data=coco_format loss=focal",
    "segmentation": "data=image_masks auxiliary=true freeze=1",
}
CLOCK = "images/s"
PATHS = ("dirpath", "best_model_path", "best_k_models", "kth_best_model_path", "current_score")  # the last: not in use


class Killed(BaseException):
    """What no hook may survive."""


POISON = -1


class Killer(L.Callback):
    """Ends a run when a hook is called for the nth time: by an exception, as a signal asks for it, or by poison."""

    def __init__(self, hook: str, count: int, by: int = 0) -> None:
        self.left, self.by = count, by
        setattr(self, hook, self.count)

    def count(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.state.fn != "fit":
            return
        self.left -= 1
        if self.left == 0:
            if not self.by:
                raise Killed
            if self.by == POISON:
                trainer.lightning_module.model.head.bias.detach().fill_(torch.nan)
            else:
                os.kill(os.getpid(), self.by)


def run(config: dict[str, Any], **killer: Any) -> float:
    """As ``train.py`` would, until the killer strikes, if there is one; and restore what it changes in the process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    Path(config["output_dir"]).mkdir(exist_ok=True)
    more = {"killer": {"_target_": "test_resume.Killer"} | killer} if killer else {}
    try:
        return train_module.run(
            config | {"callbacks": config["callbacks"] | more}, Record(config["output_dir"], config, {}, [])
        )
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def settings(task: str, root: Path, folder: Path, *more: str) -> dict[str, Any]:
    return asked(" ".join([SMALL, TASKS[task], f"data.root={root}", f"output_dir={folder}", *more]))


def rows(folder: Path) -> list[dict[str, str]]:
    """Of metrics.csv, but for what a clock says."""
    return [
        {name: value for name, value in row.items() if name != CLOCK}
        for row in csv.DictReader((folder / "metrics.csv").open())
    ]


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Equal to the last bit, however deeply nested."""
    assert type(one) is type(other), where
    if where.endswith("/copy"):  # of metrics.csv, with what a clock says
        return
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}/{index}")
    else:
        assert one == other or one != one, where


def assert_same_run(folder: Path, reference: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        saved, expected = (torch.load(path / name, weights_only=True) for path in (folder, reference))
        for state in (saved, expected):
            del state["config"]  # names the folder
            state["callbacks"] = {
                key: value for key, value in state["callbacks"].items() if "best_model_score" in value
            }
            for value in state["callbacks"].values():
                value |= dict.fromkeys(PATHS)
            state["loops"]["fit_loop"]["state_dict"].pop("combined_loader", None)
        assert_equal(saved, expected, name)
    assert rows(folder) == rows(reference)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_photos) -> Any:
    """Makes the data of a task and the folder of a run that nobody stopped, once for each task and worker number."""
    made: dict[tuple[str, ...], tuple[Path, Path]] = {}
    makers = {"classification": make_photos, "detection": make_coco, "segmentation": make_masks}

    def make(task: str, *more: str) -> tuple[Path, Path]:
        if (task, *more) not in made:
            parent = tmp_path_factory.mktemp(task)
            root, folder = makers[task](parent), parent / "run"
            run(settings(task, root, folder, *more))
            made[task, *more] = root, folder
        return made[task, *more]

    return make


POINTS = [
    ("classification", 0, "on_train_batch_start", 1, ""),  # nothing to resume from
    ("classification", 0, "on_train_batch_start", 2, "save_every_steps=1"),
    ("classification", 2, "on_train_batch_end", 3, "save_every_steps=1"),
    ("classification", 2, "on_validation_batch_start", 2, ""),
    ("classification", 0, "on_validation_end", 1, ""),
    ("classification", 2, "on_train_epoch_start", 2, ""),
    ("detection", 0, "on_train_batch_start", 2, "save_every_steps=1"),
    ("detection", 2, "on_validation_batch_start", 2, ""),
    ("segmentation", 2, "on_train_batch_start", 2, "save_every_steps=1"),
    ("segmentation", 0, "on_train_epoch_end", 1, ""),
]


@pytest.mark.parametrize(("task", "workers", "hook", "count", "more"), POINTS)
def test_killed_run__goes_on_as_if_never_stopped(task, workers, hook, count, more, finished, tmp_path):
    loading = f"data.num_workers={workers}"
    root, reference = finished(task, loading)
    with pytest.raises(Killed):
        run(settings(task, root, tmp_path / "run", loading, more), hook=hook, count=count)
    other = f"data.num_workers={(workers + 1) % 3}"  # 1 after 0, 0 after 2
    run(settings(task, root, tmp_path / "run", other, "resume=true"))
    assert_same_run(tmp_path / "run", reference)


@pytest.mark.parametrize(
    ("signum", "hook", "workers"),
    [
        (signal.SIGTERM, "on_train_batch_start", 2),
        (signal.SIGUSR1, "on_train_batch_end", 0),
        (signal.SIGINT, "on_validation_batch_start", 0),
    ],
)
def test_stopped_run__saves_the_step_it_is_in_and_goes_on(signum, hook, workers, finished, tmp_path, capsys):
    more = (f"data.num_workers={workers}", "accumulate=3")  # the last step of an epoch has one batch
    root, reference = finished("classification", *more)
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        run(settings("classification", root, folder, *more), hook=hook, count=2, by=int(signum))
    assert stop.value.code == (130 if signum == signal.SIGINT else 143)
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == (2 if "validation" in hook else 1)
    assert f"go on with the same command and hydra.run.dir={folder} resume=true" in capsys.readouterr().err
    write_json(folder / "run.json", read_json(folder / "run.json") | {"minutes": 90.0})  # as if it had taken longer
    run(settings("classification", root, folder, *more, "resume=true"))
    assert_same_run(folder, reference)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if re.match(r"│ +val │", line)]
    assert 90 <= float(row.split("│")[-2]) < 100


@pytest.mark.parametrize(("hook", "count"), [("on_train_batch_start", 3), ("on_train_batch_end", 4)])
def test_loss_that_is_no_number__stops_the_run_and_spoils_no_checkpoint(hook, count, finished, tmp_path):
    root, reference = finished("classification", "data.num_workers=0")
    folder, more = tmp_path / "run", "save_every_steps=1"
    with pytest.raises(UsageError) as raised:
        run(settings("classification", root, folder, more), hook=hook, count=count, by=POISON)
    last, dump = folder / "last.ckpt", folder / "nan_batch.pt"
    said = str(raised.value)
    assert all(part in said for part in ("step", "epoch 1", "lower optimizer.lr", "clip=1.0", str(dump), str(last)))
    assert not (folder / "best.ckpt").exists()
    assert torch.load(last, weights_only=True)["global_step"] == count - 1 if hook.endswith("start") else 3
    bad = torch.load(dump, weights_only=True)
    assert bad["checkpoint"] == str(last)
    assert bad["step"] == (2 if hook.endswith("start") else 3)
    assert (bad["loss"] != bad["loss"]) == ("loss nan" in said) == hook.endswith("start")  # else only the weights are
    assert bad["batch"][0].shape == (2, 3, 64, 64)
    assert torch.equal(
        torch.load(last, weights_only=True)["random_states"][0]["numpy"]["state"]["key"],
        bad["random_states"]["numpy"]["state"]["key"],
    )
    run(settings("classification", root, folder, "resume=true"))
    assert_same_run(folder, reference)


def test_full_disk__fails_at_the_end_with_the_checkpoint_from_before(finished, tmp_path, monkeypatch):
    root, reference = finished("classification", "data.num_workers=0")
    folder, save, calls = tmp_path / "run", torch.save, iter(range(100))

    def while_there_is_room(checkpoint: Any, file: Any) -> None:
        if next(calls) >= 3:  # those before and after the first validation, and the best, have room
            file.write(b"half a checkpoint")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", while_there_is_room)
    said = "last.ckpt: not saved, No space left on device; the one from before is kept"
    with pytest.warns(UserWarning, match=said), pytest.raises(UsageError, match=f"{said}.*; make room, then go on"):
        run(settings("classification", root, folder))
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 0
    assert not list(folder.glob(".*.tmp"))
    monkeypatch.undo()
    run(settings("classification", root, folder, "resume=true"))
    assert_same_run(folder, reference)


def test_run_in_a_moved_folder__keeps_its_best_checkpoint(tmp_path, finished):
    root, _ = finished("classification")
    first, moved = tmp_path / "first", tmp_path / "moved"
    more = ("monitor=val/loss", "optimizer.lr=1e-9")  # so that no later epoch is the better one by much
    with pytest.raises(Killed):
        run(settings("classification", root, first, *more), hook="on_train_epoch_start", count=2)
    best = torch.load(first / "best.ckpt", weights_only=True)["epoch"]
    first.rename(moved)
    run(settings("classification", root, moved, *more, "resume=true"))
    state = torch.load(moved / "last.ckpt", weights_only=True)["callbacks"]
    (kept,) = [value for value in state.values() if "best_model_score" in value]
    assert Path(kept["best_model_path"]) == moved / "best.ckpt"
    assert kept["dirpath"] == str(moved)
    values = [float(row["val/loss"]) for row in rows(moved) if row["val/loss"]]
    assert float(kept["best_model_score"]) == min(values)
    assert best == 0
