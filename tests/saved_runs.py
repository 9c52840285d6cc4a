"""Fixtures: checkpoints of all three tasks, after two steps on tiny real files, and the command in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dotcom.cli import main
from files import make_coco, make_masks

TINY = ["hardware=cpu", "block=mv2", "data.batch_size=2", "image_size=64", "epochs=1"]
SETTINGS = {
    "classification": ["data=image_folder", "ema=0.9", *TINY],
    "detection": ["data=coco_format", "loss=focal", "extra_channels=[64]", *TINY],
    "segmentation": ["data=image_masks", "head=mobilevit", *TINY],
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, make_photos) -> Callable[[str], Path]:
    """``TASK/best.ckpt`` of a run on ``TASK/DATA``, made when it is first asked for."""
    from hydra.utils import instantiate  # here, for the tests that do without are spared Lightning

    from recorded import config_of
    from runs import trainer

    made: dict[str, Path] = {}
    makers: dict[str, Callable[[Path], Path]] = {
        "classification": make_photos,
        "detection": make_coco,
        "segmentation": make_masks,
    }

    def checkpoint(task: str) -> Path:
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            config = config_of(*SETTINGS[task], f"data.root={makers[task](folder)}")
            torch.manual_seed(0)
            learner, data = instantiate(config["task"]), instantiate(config["data"])
            learner.config = config
            training = trainer(folder, limit_train_batches=2, limit_val_batches=0)
            training.fit(learner, data)
            made[task] = folder / "best.ckpt"
            training.save_checkpoint(made[task])
        return made[task]

    return checkpoint


def root_of(path: Path) -> str:
    """``data.root=...`` of a checkpoint: a path in it is used only if the command repeats it."""
    return f"data.root={torch.load(path, weights_only=True)['config']['data']['root']}"


@pytest.fixture
def answers(capsys) -> Callable[..., tuple[list[Any], str]]:
    """Runs ``dotcom ARGUMENTS --json``; gives the lines of stdout as values, and stderr; the exit code is checked."""

    def run(*arguments: object, code: int = 0) -> tuple[list[Any], str]:
        assert main([*map(str, arguments), "--json"]) == code
        said = capsys.readouterr()
        return [json.loads(line) for line in said.out.splitlines()], said.err

    return run


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """Runs ``dotcom ARGUMENTS``, which has to end with code 2 and one line, and gives that line."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as exit_:
            main([*map(str, arguments)])
        assert exit_.value.code == 2
        said = capsys.readouterr()
        assert not said.out
        assert said.err.count("\n") == 1
        return said.err

    return run
