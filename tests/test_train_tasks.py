"""Detection and segmentation from the command line, on tiny real files: train, evaluate, resume, rebuild."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from conftest import REPO
from dotcom.errors import UsageError, explain
from dotcom.models import Classifier, DoTCoM
from files import make_coco, make_masks
from test_checked import asked
from test_resume import run as run_here
from test_train import only

SMALL = ["image_size=64", "data.batch_size=2", "hardware=cpu"]
DETECTION = ("coco_format", make_coco, ["loss=focal", "ema=0.9"])
SEGMENTATION = ("image_masks", make_masks, ["auxiliary=true", "backbone_lr=0.5"])


@dataclass
class Finished:
    """A run that is over: its folder, what it said, and what has to be said again to go on with it."""

    folder: Path
    said: str
    settings: list[str]


@pytest.fixture(scope="module", params=[DETECTION, SEGMENTATION], ids=["detection", "segmentation"])
def run(request, tmp_path_factory) -> Finished:
    """One epoch from the weights of a classifier, with the switches of the task on."""
    data, make, switches = request.param
    root = tmp_path_factory.mktemp(data)
    config = asked("data=fashion")
    network = Classifier(DoTCoM.from_variant("tiny"), num_classes=10)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"config": config, "state_dict": state}, root / "classifier.ckpt")
    settings = [*SMALL, f"data={data}", f"data.root={make(root)}", *switches]
    command = [sys.executable, str(REPO / "train.py"), *settings, "epochs=1", f"weights={root / 'classifier.ckpt'}"]
    env = os.environ | {"XDG_CACHE_HOME": str(root / "cache")}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Finished(only(root, "runs/*/*"), done.stdout, settings)


def is_detection(run: Finished) -> bool:
    return "data=coco_format" in run.settings


def scores(said: str) -> list[list[str]]:
    """The closing rows, without the speed, which differs from run to run."""
    rows = [[cell.strip() for cell in line.split("│")[1:-3]] for line in said.splitlines() if line.startswith("│")]
    return [row for row in rows if row and row[0] in ("val", "val_ema")]


def test_run__leaves_checkpoints_pictures_and_scores(run):
    files = {"best.ckpt", "last.ckpt", "metrics.csv", "curves.png", "predictions.png", "per_class.csv"}
    assert files | ({"predictions.json"} if is_detection(run) else set()) <= {
        file.name for file in run.folder.iterdir()
    }
    rows = list(csv.DictReader((run.folder / "metrics.csv").open()))
    names = {name for row in rows for name, value in row.items() if value}
    expected = {"val/map", "val/map_50", "val_ema/map"} if is_detection(run) else {"val/miou", "val/pixel_accuracy"}
    assert expected | {"train/loss", "val/loss", "images/s"} <= names


def test_run__starts_from_the_backbone_of_the_classifier(run):
    (line,) = [line for line in run.said.splitlines() if line.startswith("weights=")]
    assert line.endswith("; 100.0% of the backbone")
    assert "2 skipped (head.weight, head.bias)" in line


def test_run__names_the_classes_with_their_scores(run):
    classes = ["cat", "dog"] if is_detection(run) else ["class 0", "class 1", "class 2"]
    rows = list(csv.DictReader((run.folder / "per_class.csv").open()))
    assert [row["class"] for row in rows] == classes
    assert all(0 <= float(value) <= 1 for row in rows for name, value in row.items() if name != "class")
    assert all(any(name in line and "%" in line for line in run.said.splitlines()) for name in classes)
    assert [row[0] for row in scores(run.said)] == (["val", "val_ema"] if is_detection(run) else ["val"])


@pytest.mark.parametrize("run", [DETECTION], indirect=True, ids=["detection"])
def test_detections__have_ids_and_pixels_of_the_original(run):
    entries = json.loads((run.folder / "predictions.json").read_text())
    assert entries
    sizes = {10: (95, 75), 20: (70, 105)}  # width, height
    for entry in entries:
        x, y, width, height = entry["bbox"]
        assert entry["category_id"] in (3, 7)
        assert 0 <= x <= x + width <= sizes[entry["image_id"]][0] + 0.02
        assert 0 <= y <= y + height <= sizes[entry["image_id"]][1] + 0.02
        assert 0 < entry["score"] <= 1
    assert max(entry["bbox"][1] + entry["bbox"][3] for entry in entries) > 64  # not those of the resized image


def test_checkpoint__rebuilds_its_network(run):
    from dotcom.models import Detector, Segmenter, from_checkpoint

    network = from_checkpoint(run.folder / "best.ckpt", ema=False)
    assert type(network) is (Detector if is_detection(run) else Segmenter)
    state = torch.load(run.folder / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[f"model.{name}"]) for name, value in network.state_dict().items())
    if is_detection(run):
        assert network.loss == "focal"


def test_evaluation__gives_the_scores_of_the_run(run, train, tmp_path):
    done = train(*run.settings, "fit=false", f"ckpt_path={run.folder / 'best.ckpt'}")
    assert scores(done.stdout) == scores(run.said)
    assert not list(tmp_path.glob("runs/*/*/*.ckpt"))
    for name in ("predictions.json", "per_class.csv"):
        if (run.folder / name).exists():
            assert only(tmp_path, f"runs/*/*/{name}").read_text() == (run.folder / name).read_text()


def test_checkpoints__ask_for_the_settings_that_their_weights_do_not_tell(run):
    """A loss or anchors of another kind would give other boxes, and no error."""
    changed = ["loss=hard_negative", "anchor_scales=[0.3,0.9]"] if is_detection(run) else ["backbone_lr=1.0"]
    added = ["loss=focal", r"anchor_scales=\[0.2,0.95\]"] if is_detection(run) else ["backbone_lr=0.5"]
    for change, add in zip(changed, added, strict=True):
        with pytest.raises(UsageError, match=rf"last\.ckpt: .* add {add}"):
            asked(" ".join([*run.settings, f"ckpt_path={run.folder / 'last.ckpt'}", "epochs=2", change]))


@pytest.mark.parametrize("run", [DETECTION], indirect=True, ids=["detection"])
@pytest.mark.parametrize("fit", [True, False])
def test_monitor__of_what_the_val_split_lacks_is_named(run, tmp_path, fit):
    settings = [*run.settings, "monitor=val/map_large", f"output_dir={tmp_path}", f"fit={fit}"]
    settings += ["epochs=1"] if fit else [f"ckpt_path={run.folder / 'best.ckpt'}"]
    with pytest.raises(Exception) as raised:  # noqa: PT011 of Lightning or ours, but one line in any case
        run_here(asked(" ".join(settings)))
    assert explain(raised.value) == (
        "monitor=val/map_large: the val split holds nothing to measure it on; choose another monitor= or other data"
    )


def test_resume__goes_on_for_more_epochs(run, tmp_path, capsys):
    settings = [*run.settings, f"ckpt_path={run.folder / 'last.ckpt'}", "epochs=2", f"output_dir={tmp_path}"]
    score = run_here(asked(" ".join(settings)))  # in this process, to save the imports
    said = capsys.readouterr().out
    assert "epoch 1/" not in said
    assert "epoch 2/2" in said
    assert 0 <= score <= 1
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 1
