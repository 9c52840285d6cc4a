"""Every choice in conf/ composes, and every network it names can be built."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from dotcom.config import CHOICES as CLOSED
from dotcom.config import RANGES, checked, leaves, register_resolvers
from dotcom.errors import CONF, SHARED, UsageError
from dotcom.models.blocks import BlockKind
from dotcom.models.dot import CoBiasKind

GROUPS = {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in CONF.iterdir() if group.is_dir()}
CHOICES = [(g, c) for g, cs in GROUPS.items() for c in cs if c not in SHARED.get(g, ()) and g != "task"]
FAKED = ["hydra.run.dir=.", "name=test", "output_dir=."]  # what only a run knows


def composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*FAKED, *overrides])


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["=".join(pair) for pair in CHOICES])
def test_choice__builds_its_task(group, choice, photos):
    root = [f"data.root={photos}"] if choice in ("imagenet", "image_folder", "co_bias") else []
    cfg = composed(f"{group}={choice}", *root)
    with torch.device("meta"):  # shapes only: no memory, no arithmetic
        model = instantiate(cfg.task.model)
    cfg.task.model = None
    task = instantiate(cfg.task, model=model)
    data = instantiate(cfg.data)
    assert task.model is model
    assert model.head.out_features == data.num_classes
    assert cfg.monitor.startswith("val/")


@pytest.mark.parametrize("group", ["callbacks", "trainer", "logger", "optimizer", "scheduler"])
def test_targets__exist(group):
    for choice in GROUPS[group]:
        cfg = composed(f"{group}={choice}", "hardware=cpu")[group]
        for name, target in [(key, value) for key, value in raw_leaves(cfg) if key.endswith("_target_")]:
            module, _, attribute = target.rpartition(".")
            assert hasattr(__import__(module, fromlist=[attribute]), attribute), name


def raw_leaves(cfg: DictConfig) -> list[tuple[str, str]]:
    def walk(node, prefix=""):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, f"{prefix}{key}.")
        elif isinstance(node, list):
            for value in node:
                yield from walk(value, prefix)
        else:
            yield prefix.rstrip("."), node

    return list(walk(OmegaConf.to_container(cfg, resolve=False)))


def test_closed_choices__are_those_of_the_network():
    assert CLOSED["block"] == get_args(BlockKind)
    assert CLOSED["co_bias"] == get_args(CoBiasKind)


def test_experiment_imagenet__is_the_recipe_of_the_original(photos):
    cfg = composed("experiment=imagenet", f"data.root={photos}")
    assert cfg.model.variant == "base"
    assert (cfg.hardware.devices, cfg.data.batch_size, cfg.epochs) == (2, 128, 100)
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.optimizer.weight_decay) == ("torch.optim.AdamW", 1e-3, 5e-3)
    assert cfg.scheduler.warmup * cfg.epochs == 10
    assert cfg.scheduler.floor * cfg.optimizer.lr == pytest.approx(1e-6)
    assert (cfg.data.train_transform.image_size, cfg.data.val_transform.image_size) == (256, 256)
    assert cfg.data.val_transform.resize == 288


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs=abc", "epochs=abc: expected a whole number, such as the default 8"),
        ("epochs=1.5", "epochs=1.5: expected a whole number"),
        ("epochs=true", "expected a whole number"),
        ("optimizer.lr=fast", "optimizer.lr=fast: expected a number, such as the default 0.002"),
        ("fit=maybe", "fit=maybe: expected true or false"),
        ("epochs=0", "epochs=0: expected a number above 0"),
        ("ema=2", "ema=2: expected a number above 0 and below 1"),
        ("ema=0", "ema=0: expected a number above 0 and below 1"),
        ("data.mixup=-1", "data.mixup=-1: expected a number from 0 on"),
        ("data.train_transform.min_scale=2", "min_scale=2: expected a number above 0, up to 1"),
        ("scheduler.warmup=5", "scheduler.warmup=5: expected a number from 0 to below 1"),
        ("seed=-1", "seed=-1: expected a number from 0 to 4294967295"),
        ("clip=-1", "clip=-1: expected a number above 0"),
        ("co_bias=frist", r"co_bias=frist: expected true \| false \| first \| second; did you mean first\?"),
        ("block=resnet", r"block=resnet: expected basic \| mv2 \| qg \| qib"),
        ("data.train_transform.auto_augment=auto", r"auto_augment=auto: expected rand \| trivial \| null"),
        ("fit=false", "fit=false: expected ckpt_path="),
        ("precision=half", r"precision=half: expected 32-true \| bf16-mixed \| 16-mixed"),
    ],
)
def test_checked__refuses(override, said):
    with pytest.raises(UsageError, match=said):
        checked(composed(override), composed())


def test_checked__refuses_clipping_that_a_fused_optimizer_cannot_do():
    with pytest.raises(UsageError, match=r"add optimizer\.fused=false"):
        checked(composed("clip=1", "precision=16-mixed"), composed())
    checked(composed("clip=1", "precision=16-mixed", "optimizer.fused=false"), composed())


@pytest.mark.parametrize(
    "override",
    [
        "hardware.devices=auto",
        "data.mixup=1",
        "optimizer.lr=1",
        "ema=0.99",
        "clip=1",
        "co_bias=first",
        "seed=3",
        "name=x",
    ],
)
def test_checked__accepts(override):
    config = checked(composed(override), composed())
    key, value = override.split("=")
    assert str(OmegaConf.select(OmegaConf.create(config), key)) == value


def test_checked__gives_plain_values_only():
    def plain(node: object) -> bool:
        if isinstance(node, dict):
            return all(isinstance(key, str) and plain(value) for key, value in node.items())
        return all(map(plain, node)) if isinstance(node, list) else isinstance(node, str | int | float | None)

    assert plain(checked(composed(), composed()))


def test_ranges__are_of_settings_that_exist():
    settings = composed("data=fashion")
    assert [
        key for _, keys in RANGES.values() for key in keys if OmegaConf.select(settings, key, default="?") == "?"
    ] == []


def test_experiment_co_bias__uses_the_recipe_of_imagenet(photos):
    one, other = (composed(f"experiment={name}", f"data.root={photos}") for name in ("imagenet", "co_bias"))
    assert other.hardware.devices * other.data.batch_size == one.hardware.devices * one.data.batch_size
    assert other.optimizer == one.optimizer
    assert (other.epochs, other.precision, other.scheduler) == (one.epochs, one.precision, one.scheduler)


def test_leaves__leave_out_what_is_not_settled():
    cfg = OmegaConf.create({"a": {"b": 1}, "c": "${a.b}", "d": "???"})
    with open_dict(cfg):
        assert dict(leaves(cfg)) == {"a.b": 1}


def test_experiments__have_their_record():
    index = (CONF.parent / "experiments" / "README.md").read_text()
    assert [name for name in GROUPS["experiment"] if f"experiment={name}" not in index] == []


def test_conf__is_where_the_package_looks_for_it():
    assert (Path(CONF) / "config.yaml").is_file()
