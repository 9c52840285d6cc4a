"""Evaluate gives the scores that train.py gives, to all digits, and refuses data that do not fit."""

import json
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from dotcom.cli import main
from runs import trainer
from saved_runs import root_of

TASKS = ("classification", "detection", "segmentation")


def test_scores__are_those_of_train(checkpoints, answers, train, tmp_path):
    path = checkpoints("classification")
    settings = ["data=image_folder", f"data.root={path.parent / 'photos'}", "block=mv2", "image_size=64", "ema=0.9"]
    folder = tmp_path / "run"
    settings += ["data.batch_size=2", "fit=false", f"ckpt_path={path}", f"hydra.run.dir={folder}"]
    train(*settings, OMP_NUM_THREADS="1")  # as this process has; more threads add up in another order
    (answer,), _ = answers("evaluate", path, root_of(path))
    assert set(answer["scores"]) == {
        f"{net}/{score}" for net in ("val", "val_ema") for score in ("loss", "top1", "top5")
    }
    assert answer["scores"] == json.loads((folder / "run.json").read_text())["scores"]
    assert answer["images"] == 4


@pytest.mark.parametrize("task", TASKS)
def test_scores__are_those_of_the_tasks_own_validation(task, checkpoints, answers, tmp_path):
    path = checkpoints(task)
    config = torch.load(path, weights_only=True)["config"]
    learner, data = instantiate(config["task"]), instantiate(config["data"])
    (scores,) = trainer(tmp_path).validate(learner, data, ckpt_path=path, verbose=False)
    (answer,), said = answers("evaluate", path, root_of(path))
    assert answer["scores"] == scores
    assert answer["per_class"] == learner.per_class
    assert "warning" not in said


def test_other_data__of_the_same_classes_are_measured(checkpoints, answers, photos):
    path = checkpoints("classification")
    for file in (photos / "val" / "dark").iterdir():
        (photos / "val" / "light" / f"not_{file.name}").write_bytes(file.read_bytes())
    own, there, chosen = (
        answers("evaluate", path, *given)[0][0]
        for given in (
            [root_of(path)],
            [f"data.root={photos}"],
            ["data=image_folder", f"data.root={photos}", "data.batch_size=5"],
        )
    )
    assert (own["images"], there["images"]) == (4, 6)
    assert there["root"] == str(photos)
    assert there["scores"]["val/loss"] != own["scores"]["val/loss"]
    # the choice brings its own transform, at the image size of the run
    assert chosen["scores"] == pytest.approx(there["scores"], abs=1e-5)


def test_tables__name_data_classes_and_scores(checkpoints, capsys):
    assert main(["evaluate", str(path := checkpoints("segmentation")), root_of(path)]) == 0
    said = capsys.readouterr().out
    for words in ("on image_masks, 2 images", "class 0", "IoU", "mIoU", "images/s"):
        assert words in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=fashion_boxes"], "data=fashion_boxes: data for Detection; the checkpoint is for Classification"),
        (["data=fashion"], "data: 10 classes; the checkpoint knows 2"),
        (["data=fashon"], "did you mean fashion?"),
        (["data.rot=3"], "data.rot: the data of this checkpoint have no such setting; did you mean data.root?"),
        (["data.root=/nowhere/at/all"], "data.root=/nowhere/at/all: no such folder; set it with data.root=PATH"),
        (["data=image_folder", "data.root=/nowhere/at/all"], "data.root=/nowhere/at/all: no such folder"),
        (["data.batch_size=many"], "data.batch_size=many: expected a whole number"),
        (["data.batch_size=0"], "data.batch_size=0: expected a number above 0"),
        (["data.val_transform=5"], "data.val_transform: a group of settings; expected one of data.val_transform."),
        (["data.val_transform.resize=-5"], "data.val_transform.resize=-5: expected a number of pixels from 1 to 16384"),
        (["data.val_transform.resize=20"], "data.val_transform.resize=20: expected 64 or more"),
        (["data.val_transform.interpolation=nearest"], "interpolation=nearest: expected bilinear | bicubic"),
        (["data.mean=5"], "data.mean=5: expected three numbers"),
        (["data.std=[0,0,0]"], "data.std=[0,0,0]: expected three numbers above 0"),
        (["data.num_workers=100000"], "data.num_workers=100000: expected up to "),
        (["data.batch_size=1000000000"], "data.batch_size=1000000000: expected a number above 0, up to a million"),
        (["data.pin_memory=5"], "data.pin_memory=5: expected true | false | null"),
        (["data.mixup=nan"], "data.mixup=nan: expected a"),
        (["data=image_folder", "data.std=[1,1]"], "data.std=[1,1]: expected three numbers"),
        (["data.batch_size=1,2"], "data.batch_size=1,2: expected one value"),
        (["data.val_transform._target_=os.system"], "data.val_transform._target_: the data of this checkpoint have no"),
        (["seed=3"], "seed: expected data=CHOICE or data.KEY=VALUE"),
        (["photos"], "photos: expected key=value"),
    ],
)
def test_mistake__is_one_line(overrides, said, checkpoints, refused):
    assert said in refused("evaluate", checkpoints("classification"), *overrides)


@pytest.mark.parametrize("data", [[], ["data=image_folder"]])
def test_classes__of_another_name_are_refused(data, checkpoints, refused, photos):
    for split in ("train", "val"):
        (photos / split / "dark").rename(photos / split / "drak")
    said = refused("evaluate", checkpoints("classification"), *data, f"data.root={photos}")
    assert (
        "data: the checkpoint does not know 1 of their 2 classes: drak; did you mean dark?; it knows dark, light"
        in said
    )


def renamed(path: Path, names: list[str], folder: Path) -> Path:
    """The same checkpoint with other names of its classes."""
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "classes": names}, folder / "renamed.ckpt")
    return folder / "renamed.ckpt"


def test_classes__in_another_order_are_matched_by_name(checkpoints, answers, tmp_path, capsys):
    """Both classes of the checkpoint change their names: each image is right where it was wrong before."""
    path = checkpoints("classification")
    (own,), _ = answers("evaluate", path, root_of(path))
    other = renamed(path, ["light", "dark"], tmp_path)
    (answer,), _ = answers("evaluate", other, root_of(other))
    assert answer["scores"]["val/top1"] == pytest.approx(1 - own["scores"]["val/top1"])
    assert answer["classes"] == ["dark", "light"]
    assert main(["evaluate", str(other), root_of(other)]) == 0
    assert "classes matched by name" in capsys.readouterr().out


def test_subset__is_scored_over_its_own_classes(checkpoints, answers, photos, tmp_path, capsys):
    """A network that knows four classes chooses among the two that the data have."""
    path = tmp_path / "four.ckpt"
    saved = torch.load(checkpoints("classification"), weights_only=True)
    state = {}
    for name, value in saved["state_dict"].items():  # two more classes, one of them always the best
        head = name.endswith(("head.weight", "head.bias"))
        extra = torch.full_like(value, 50.0) if name.endswith("bias") else torch.zeros_like(value)
        state[name] = torch.cat([extra[:1], value, extra[:1]]) if head else value
    config = json.loads(json.dumps(saved["config"]))
    for group in (config["data"], config["task"], config["task"]["model"]):
        group["num_classes"] = 4
    torch.save({**saved, "state_dict": state, "config": config, "classes": ["ape", "dark", "light", "yak"]}, path)
    (own,), _ = answers("evaluate", original := checkpoints("classification"), root_of(original))
    (answer,), _ = answers("evaluate", path, root_of(path))
    assert answer["scores"] == pytest.approx(own["scores"], abs=1e-6)
    assert answer["classes"] == ["dark", "light"]
    assert main(["evaluate", str(path), root_of(path)]) == 0
    assert "over 2 of the 4 classes that the checkpoint knows, among which it chooses; not in these data: ape, yak" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_boxes_and_masks__are_matched_by_name_too(task, checkpoints, answers, tmp_path):
    """With the classes in another order twice over, the scores are the same again."""
    path = checkpoints(task)
    saved = torch.load(path, weights_only=True)
    names, count = saved["classes"], len(saved["classes"])
    (own,), _ = answers("evaluate", path, root_of(path))
    (turned,), _ = answers("evaluate", renamed(path, [*names[1:], names[0]], tmp_path), root_of(path))
    assert turned["scores"] != own["scores"]
    state = {}
    for name, value in saved["state_dict"].items():  # the same network, with its classes in that order
        state[name] = value
        if task == "segmentation" and ".classifier." in name and len(value) == count:
            state[name] = torch.roll(value, -1, 0)
        if task == "detection" and ".classification_head." in name and value.ndim and len(value) % (count + 1) == 0:
            ground, *classes = value.unflatten(0, (-1, count + 1)).unbind(1)
            if name.endswith((".1.weight", ".1.bias")):  # the last layer of each map
                state[name] = torch.stack([ground, *classes[1:], classes[0]], 1).flatten(0, 1)
    again = tmp_path / "again.ckpt"
    torch.save({**saved, "state_dict": state, "classes": [*names[1:], names[0]]}, again)
    (answer,), _ = answers("evaluate", again, root_of(again))
    compared = ("val/loss",) if task == "detection" else own["scores"]  # equal scores are ranked by class
    assert [answer["scores"][name] for name in compared] == pytest.approx([own["scores"][name] for name in compared])
    assert answer["per_class"].keys() == own["per_class"].keys()


@pytest.mark.parametrize("group", ["image_size", "task.model", "data.val_transform"])
def test_configuration__that_lacks_something_is_refused(group, checkpoints, refused, tmp_path):
    saved = torch.load(checkpoints("classification"), weights_only=True)
    config = json.loads(json.dumps(saved["config"]))
    *way, last = group.split(".")
    inner = config[way[0]] if way else config
    del inner[last]
    torch.save({**saved, "config": config}, tmp_path / "less.ckpt")
    assert "its configuration lacks" in refused("evaluate", tmp_path / "less.ckpt")


def test_checkpoint__has_nothing_else_called(checkpoints, refused, tmp_path):
    saved = torch.load(checkpoints("classification"), weights_only=True)
    for group, named in (("data", "data: 'os.getcwd' is not a part"), ("model", "names the network 'os.getcwd'")):
        config = json.loads(json.dumps(saved["config"]))
        if group == "data":
            config["data"]["val_transform"] = {"_target_": "os.getcwd"}
        else:
            config["task"]["model"] = {"_target_": "os.getcwd"}
        torch.save({**saved, "config": config}, tmp_path / "bad.ckpt")
        assert named in refused("evaluate", tmp_path / "bad.ckpt", root_of(tmp_path / "bad.ckpt"))
