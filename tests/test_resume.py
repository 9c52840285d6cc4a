"""A run that is killed and resumed ends as if never stopped: weights, optimiser, average, random numbers, history."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import train as train_module

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


class Killer(L.Callback):
    """Ends a run when a hook is called for the nth time: by an exception, or as a signal asks for it."""

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
            os.kill(os.getpid(), self.by)


def run(config: dict[str, Any], **killer: Any) -> None:
    """As ``train.py`` would, until the killer strikes, if there is one; and restore what it changes in the process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    more = {"killer": {"_target_": "test_resume.Killer"} | killer} if killer else {}
    try:
        train_module.run(config | {"callbacks": config["callbacks"] | more})
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
    config = settings(task, root, tmp_path / "run", loading, more)
    with pytest.raises(Killed):
        run(config, hook=hook, count=count)
    last = tmp_path / "run/last.ckpt"
    run(config | {"ckpt_path": str(last) if last.exists() else None})
    assert_same_run(tmp_path / "run", reference)
