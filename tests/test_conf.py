"""Every choice in conf/ composes, and every network it names can be built."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dotcom.annotations import folders
from dotcom.config import METRICS, check_model, register_resolvers
from dotcom.errors import CONF, SHARED, UsageError, explain
from dotcom.models import Detector, Segmenter
from dotcom.resume import override_for
from files import make_coco, make_masks, make_voc, make_yolo

GROUPS = {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in CONF.iterdir() if group.is_dir()}
CHOICES = [(g, c) for g, cs in GROUPS.items() for c in cs if c not in SHARED.get(g, ()) and g != "task"]
MODELS = {file.stem: OmegaConf.to_container(OmegaConf.load(file)) for file in (CONF / "model").glob("*.yaml")}
PEERS = [str(model["name"]) for choice, model in MODELS.items() if "name" in model and choice != "timm"]
OURS = [choice for choice in MODELS if choice.startswith(("edgevit_", "fat_"))]  # peers that timm lacks
FLAT = [name for name in PEERS if name.startswith(("deit", "crossvit"))]  # transformers without a pyramid
FAKED = ["hydra.run.dir=.", "run_name=test", "output_dir=."]  # what only a run knows
LIKE_COCO = [f"data.dataset.images.{split}={split}" for split in ("train", "val")]
LIKE_COCO += [f"data.dataset.annotations.{split}={split}.json" for split in ("train", "val")]
FILES: dict[str, tuple[Callable[[Path], Path], list[str]]] = {  # what makes a root, and what is to be said besides
    "coco": (make_coco, LIKE_COCO),
    "coco_format": (make_coco, []),
    "image_masks": (make_masks, []),
    "voc": (make_voc, []),
    "voc_detection": (make_voc, []),
    "yolo_format": (make_yolo, []),
}
ON_PHOTOS = ("imagenet", "imagenet_readme", "image_folder", "co_bias", "blocks", "sizes")
EMBEDDED = ("fashion", "fashion_boxes", "fashion_masks")  # one of each task


def composed(*overrides: str) -> DictConfig:
    return deepcopy(once_composed(overrides))


@cache
def once_composed(overrides: tuple[str, ...]) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*FAKED, *overrides])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")


@pytest.fixture
def needed(tmp_path, photos) -> Callable[[str, str], list[str]]:
    """What has to be said together with a choice, with data that fit it."""

    def say(group: str, choice: str) -> list[str]:
        if choice in FILES:
            make, rest = FILES[choice]
            return [f"data.root={make(tmp_path)}", *rest]
        if (group, choice) == ("model", "timm"):
            return ["name=repvit_m1_0"]
        return [f"data.root={photos}"] if choice in ON_PHOTOS else []

    return say


def built(cfg: DictConfig) -> Any:
    """The network, in shapes only: no memory, no arithmetic."""
    with torch.device("meta"):
        return instantiate(cfg.task.model)


def known_classes(network: nn.Module) -> int:
    """How many classes the network tells apart, less the background that only a detector adds."""
    if isinstance(network, Detector):
        return network.head.classification_head.num_columns - 1
    return network.classifier.out_channels if isinstance(network, Segmenter) else network.head.out_features


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["=".join(pair) for pair in CHOICES])
def test_choice__builds_its_task(group, choice, needed):
    cfg = composed(f"{group}={choice}", *needed(group, choice))
    model = built(cfg)
    cfg.task.model = None
    task = instantiate(cfg.task, model=model)
    data = instantiate(cfg.data)
    assert task.model is model
    assert known_classes(model) == data.num_classes
    assert cfg.monitor.removeprefix("val/") in METRICS[type(task).__name__]
    for callback in cfg.callbacks.values():
        instantiate(callback)
    if choice in FILES:
        data.setup("fit")
        assert len(data.classes) == data.num_classes
        assert all(dataset[0] is not None for dataset in data.datasets.values())


@pytest.mark.parametrize(("data", "network"), [("fashion_boxes", Detector), ("fashion_masks", Segmenter)])
@pytest.mark.parametrize("name", sorted(set(PEERS) - set(FLAT)))
def test_peer__detects_and_segments(name, data, network):
    cfg = composed("model=timm", f"data={data}")
    cfg.name = name
    model = built(cfg)
    assert type(model) is network
    assert known_classes(model) == cfg.data.num_classes
    assert model.backbone.name == name


@pytest.mark.parametrize(("data", "network"), [("fashion_boxes", Detector), ("fashion_masks", Segmenter)])
@pytest.mark.parametrize("choice", OURS)
def test_peer_of_ours__detects_and_segments(choice, data, network):
    cfg = composed(f"model={choice}", f"data={data}")
    model = built(cfg)
    assert type(model) is network
    assert known_classes(model) == cfg.data.num_classes
    assert not {"block", "co_bias"} & set(cfg.model)


@pytest.mark.parametrize("choice", [*OURS, "shvit_s1"])
def test_peer__refuses_the_switches_of_dotcom(choice):
    config = OmegaConf.to_container(composed(f"model={choice}", "block=mv2"), resolve=True)
    with pytest.raises(UsageError, match=r"^co_bias and block: expected a model of DoTCoM with them"):
        check_model(config)


@pytest.mark.parametrize("choice", [*OURS, "dotcom_small"])
def test_checkpoint__of_a_size_says_how_to_ask_for_it(choice):
    assert override_for("model.variant", composed(f"model={choice}"), composed()) == f"model={choice}"


@pytest.mark.parametrize("data", ["fashion_boxes", "fashion_masks"])
@pytest.mark.parametrize("name", FLAT)
def test_peer_without_maps__says_what_it_can_do(name, data):
    cfg = composed("model=timm", f"data={data}")
    cfg.name = name
    with pytest.raises(InstantiationException) as raised:
        built(cfg)
    said = explain(raised.value)
    assert f"name={name}: it has no feature pyramid" in said
    assert "it works for classification" in said


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


def test_experiment_imagenet__is_the_recipe_of_the_original(photos):
    cfg = composed("experiment=imagenet", f"data.root={photos}")
    assert cfg.model.variant == "base"
    assert (cfg.hardware.devices, cfg.data.batch_size, cfg.epochs) == (2, 64, 100)  # 128 a step, as its code
    assert cfg.lr_batch == 128
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.optimizer.weight_decay) == ("torch.optim.AdamW", 1e-3, 5e-3)
    assert cfg.scheduler.warmup * cfg.epochs == 10
    assert cfg.scheduler.floor * cfg.optimizer.lr == pytest.approx(1e-6)
    assert (cfg.data.train_transform.image_size, cfg.data.val_transform.image_size) == (256, 256)
    assert cfg.data.val_transform.resize == 288


def test_experiment_imagenet_readme__differs_in_the_batch_alone(photos):
    one, other = (composed(f"experiment={name}", f"data.root={photos}") for name in ("imagenet", "imagenet_readme"))
    assert (other.hardware.devices, other.data.batch_size, other.lr_batch) == (2, 128, 256)
    other.data.batch_size, other.lr_batch = one.data.batch_size, one.lr_batch
    assert one == other


@pytest.mark.parametrize("name", ["co_bias", "blocks", "sizes"])
def test_studies__use_the_recipe_of_imagenet(name, photos):
    one, other = (composed(f"experiment={each}", f"data.root={photos}") for each in ("imagenet", name))
    assert other.hardware.devices * other.data.batch_size == one.hardware.devices * one.data.batch_size
    assert other.optimizer == one.optimizer
    assert (other.epochs, other.precision, other.scheduler) == (one.epochs, one.precision, one.scheduler)


def test_experiments__have_their_record():
    index = (CONF.parent / "experiments" / "README.md").read_text()
    assert [name for name in GROUPS["experiment"] if f"experiment={name}" not in index] == []


def test_conf__is_where_the_package_looks_for_it():
    assert (Path(CONF) / "config.yaml").is_file()
