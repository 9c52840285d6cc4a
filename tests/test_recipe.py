"""The keys of the recipe: what is refused, what an old checkpoint means, and a run with all of them resumes exactly."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dotcom.checkpoint import check_files
from dotcom.errors import UsageError
from dotcom.fingerprint import NEWER, fingerprint
from dotcom.models import from_checkpoint
from test_checked import asked
from test_conf import composed
from test_resume import Killed, assert_equal, assert_same_run, run, settings

ALL = "average_best=2 multi_scale=[32,64] progressive=32 layer_decay=0.8 decayed=matrices data.num_workers=0 seed=1"
USUAL = " ".join(f"{key}={json.dumps(value)}" for key, value in NEWER.items())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("decayed=matrix", r"decayed=matrix: expected all \| matrices; did you mean matrices\?"),
        ("layer_decay=1.5", "layer_decay=1.5: expected a number above 0, up to 1"),
        ("average_best=0", "average_best=0: expected a number above 0"),
        ("average_best=2.5", "average_best=2.5: expected a whole number, or null"),
        ("multi_scale=64", r"multi_scale=64: expected multiples of 32 above 0, up to 8192, such as \[192,224,256\]"),
        ("multi_scale=[]", r"multi_scale=\[\]: expected multiples of 32"),
        ("multi_scale=[32,50]", r"multi_scale=\[32,50\]: expected multiples of 32"),
        ("progressive=40", "progressive=40: expected a multiple of 32 above 0"),
        ("progressive=64", "progressive=64: expected less than image_size=64, the size that it rises to"),
        ("progressive=32 progressive_until=0", "progressive_until=0: expected a number above 0, up to 1"),
        ("progressive_until=0.7", "progressive_until: expected progressive= with it"),
        ("distill=hard", "distill: expected teacher= with it, the network to learn from"),
        ("distill_weight=0.9", "distill_weight: expected teacher= with it"),
        ("teacher=resnet18 distill=warm", r"distill=warm: expected soft \| hard"),
        ("teacher=resnet18 distill_weight=0", "distill_weight=0: expected a number above 0, up to 1"),
        ("teacher=resnet18 distill_temperature=0", "distill_temperature=0: expected a number above 0"),
        ("teacher=resnet18 distill=hard distill_temperature=2", "distill_temperature: expected distill=soft with it"),
        ("teacher=3", "teacher=3: expected RUN/best.ckpt, or the name of a network of timm"),
        ("teacher=nowhere/best.ckpt", "teacher=nowhere/best.ckpt: no such file; a run leaves best.ckpt"),
    ],
)
def test_recipe__refuses(override, said):
    with pytest.raises(UsageError, match=said):
        asked(override)


def test_recipe__accepts_what_can_be():
    asked(f"{ALL} teacher=resnet18 distill=hard distill_weight=0.1")
    asked("data=fashion_boxes multi_scale=[64,96,128] progressive=32 progressive_until=0.9 layer_decay=0.7")


def test_teacher__has_to_be_a_classifier_of_as_many_classes(checkpoints):
    path = checkpoints("classification")
    with pytest.raises(UsageError, match=f"teacher={path}: it knows 2 classes, the data have 10; expected equal"):
        asked(f"teacher={path}")
    path = checkpoints("segmentation")
    with pytest.raises(UsageError, match=f"teacher={path}: expected a classifier, got a checkpoint of segmentation"):
        asked(f"teacher={path}")


def test_fingerprint__is_that_of_a_time_without_these_keys():
    config = asked("")
    old = without_young_keys(config)
    assert fingerprint(old) == fingerprint(config) == fingerprint(asked(USUAL))
    for override in ALL.split()[:5]:
        assert fingerprint(asked(override)) != fingerprint(config), override


def without_young_keys(node: Any) -> Any:
    """A configuration as it was before there were these settings."""
    if not isinstance(node, dict):
        return node
    return {key: without_young_keys(value) for key, value in node.items() if key not in NEWER}


def test_old_checkpoint__means_the_old_behaviour(checkpoints, tmp_path):
    path = checkpoints("classification")
    saved = torch.load(path, weights_only=True)
    config = saved["config"]
    torch.save(saved | {"config": without_young_keys(config)}, tmp_path / "last.ckpt")
    here = {"resume": True, "epochs": 9, "weights": None, "ckpt_path": None, "output_dir": str(tmp_path)}
    asked_for = config | here
    check_files(asked_for)
    assert asked_for["ckpt_path"] == str(tmp_path / "last.ckpt")
    for key, other in (("layer_decay", 0.5), ("decayed", "matrices"), ("progressive", 32)):
        with pytest.raises(UsageError, match=rf"add {key}={'null' if key == 'progressive' else NEWER[key]}$"):
            check_files(config | here | {key: other})
    elsewhere = config | here | {"resume": False, "output_dir": str(tmp_path / "other")}
    check_files(elsewhere | {"ckpt_path": str(tmp_path / "last.ckpt")})
    with pytest.raises(UsageError, match="its optimizer has other groups of parameters; add decayed=all"):
        check_files(elsewhere | {"ckpt_path": str(tmp_path / "last.ckpt"), "decayed": "matrices"})


def test_run_from_before_the_average_chose__goes_on_by_its_own_score(checkpoints, tmp_path, capsys):
    saved = torch.load(checkpoints("classification"), weights_only=True)
    assert saved["config"]["monitor"] == "val_ema/top1"
    line = f"ema=0.9 block=mv2 resume=true epochs=9 image_size=64 data.batch_size=2 output_dir={tmp_path}"
    data = f"data=image_folder data.root={saved['config']['data']['root']}"
    for before in ("val/top1", "val_ema/top1"):
        torch.save(saved | {"config": saved["config"] | {"monitor": before}}, tmp_path / "last.ckpt")
        config = asked(f"{data} {line}")
        assert config["monitor"] == config["callbacks"]["best"]["monitor"] == before
        assert ("monitor=val/top1: as this run began" in capsys.readouterr().out) == (before == "val/top1")
        with pytest.raises(UsageError, match=rf"it holds monitor={before}, unlike these settings; add monitor="):
            asked(f"{data} {line} monitor=val_ema/loss")


def test_run_with_all_keys__is_killed_and_goes_on_as_if_never_stopped(tmp_path, make_photos):
    """In the last epoch batches are of both sizes, so a draw that is off by one would show in the weights."""
    root = make_photos(tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = [*ALL.split(), "save_every_steps=1"]
    run(settings("classification", root, whole, *more))
    with pytest.raises(Killed):
        run(settings("classification", root, killed, *more), hook="on_train_batch_start", count=7)
    assert torch.load(killed / "last.ckpt", weights_only=True)["global_step"] == 6
    run(settings("classification", root, killed, *more, "resume=true"))
    assert_same_run(killed, whole)
    assert_average(killed, whole)


def assert_average(folder: Path, reference: Path) -> None:
    """``average.ckpt`` is the mean of the weights that ``last.ckpt`` keeps, measured beside the best, equal in both."""
    average, expected = (torch.load(path / "average.ckpt", weights_only=True) for path in (folder, reference))
    assert_equal(average["state_dict"], expected["state_dict"])
    last = torch.load(folder / "last.ckpt", weights_only=True)
    (state,) = [value for name, value in last["callbacks"].items() if "AverageBest" in name]
    one, other = (weights["model.head.weight"] for _, _, weights in state["kept"])
    assert torch.allclose(average["state_dict"]["model.head.weight"], (one + other) / 2, atol=1e-7)
    network: Any = from_checkpoint(folder / "average.ckpt", ema=False)
    assert torch.equal(network.head.weight, average["state_dict"]["model.head.weight"])
    scores = json.loads((folder / "run.json").read_text())["scores"]
    assert {"val/top1", "average/top1", "val_ema/top1", "average_ema/top1"} <= scores.keys()


@pytest.mark.parametrize("experiment", ["small", "blocks_small", "co_bias_small", "sizes_small"])
def test_small_experiments__keep_the_recipe_of_the_recorded_studies(experiment):
    """Whatever the demo takes today."""
    cfg = composed(f"experiment={experiment}")
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.data.batch_size, cfg.image_size) == (0.002, 0.005, 32, 64)
    assert (cfg.accumulate, cfg.clip, cfg.label_smoothing, cfg.data.mixup, cfg.ema) == (1, None, 0.0, 0.0, None)
    assert cfg.data.train_transform.min_scale == 0.8
    assert {key: cfg[key] for key in NEWER} == NEWER


def test_experiment_imagenet__has_none_of_the_keys_that_came_later(photos):
    cfg = composed("experiment=imagenet", f"data.root={photos}")
    assert {key: cfg[key] for key in NEWER} == NEWER
