"""``--help`` says of every key that one sets what it means, shows what was chosen, and ends quietly."""

import os
import re
import subprocess
import sys
from itertools import cycle

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from conftest import REPO
from dotcom import help as help_page
from dotcom.config import register_resolvers
from dotcom.errors import SHARED
from test_conf import GROUPS

DATA = [choice for choice in GROUPS["data"] if choice not in SHARED["data"]]
NAMES = ("optimizer", "scheduler", "hardware", "logger")
OTHERS = [[f"{group}={choice}" for choice in GROUPS[group]] for group in NAMES]
COMMANDS = [list(words) for words in zip((f"data={choice}" for choice in DATA), *map(cycle, OTHERS), strict=False)]


@pytest.fixture(autouse=True)
def own_hydra(monkeypatch):
    register_resolvers()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("DATA_ROOT", "/nonexistent")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_key__has_a_comment_or_is_hidden_for_a_reason(words):
    cfg = help_page.composed(words)
    found = help_page.sections(cfg, HydraConfig.get().runtime.choices)
    settings = [setting for section in found.values() for setting in section]
    assert [setting.key for setting in settings if len(setting.comment) < 3] == []
    assert "" not in found
    keys = {setting.key for setting in settings}
    assert {"co_bias", "epochs", "optimizer.lr", "precision", "data.root", "data.num_workers", "hydra.run.dir"} <= keys
    assert not {"data.seed", "trainer.max_epochs", "hardware.precision", "task.ema", "model.block"} & keys


def test_rule__hides_something():
    keys = {key for data in ("fashion", "image_masks") for key in every_key(f"data={data}", "logger=wandb")}
    assert [rule for rule in help_page.HIDDEN if not any(re.fullmatch(rule, key) for key in keys)] == []


def every_key(*words: str) -> set[str]:
    return {key for key, _ in help_page.leaves(OmegaConf.to_container(help_page.composed(words), resolve=False))}


def test_help__shows_what_is_chosen_and_nothing_that_cannot_be():
    said = help_page.help_text(["data=coco", "optimizer=sgd", "-m", "co_bias=false,true", "--help"])
    lines = ("data=coco", "optimizer=sgd", "co_bias=false  ", "optimizer.momentum=0.9  ", "data.num_classes  ")
    for line in lines:
        assert f"\n  {line}" in said
    assert "\n# data=coco: COCO 2017: " in said
    assert not re.search(r"_target_|_partial_|\?\?\?|\$\{|\btask=| (images|boxes|masks) \|", said)
    assert max(map(len, said.partition("== Choices")[2].splitlines())) <= 100


TRAIN, DOTCOM = [str(REPO / "train.py")], ["-c", "import sys, dotcom.cli; dotcom.cli.main(sys.argv[1:])"]


@pytest.mark.parametrize("command", [[*TRAIN, "--help"], [*TRAIN, "--cfg", "job"], [*DOTCOM, "--help"]])
def test_reader__who_has_enough_ends_it_quietly(command, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode in (0, 1)  # 0 where argparse itself passes over it
