"""The commands of the README, run on tiny real files: train, evaluate, resume, sweep."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import REPO

FOLDER = ["data=image_folder", "image_size=64"]
SMALL = [*FOLDER, "data.batch_size=4", "hardware=cpu", "epochs=1"]


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture(scope="module")
def slurm_path(tmp_path_factory) -> str:
    """PATH of a machine on which Slurm's commands are installed, as on the login node of a cluster."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "srun").write_text("#!/bin/sh\nexit 1\n")
    (folder / "srun").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def run(tmp_path_factory, slurm_path, request) -> Path:
    """The folder of one finished run with every switch on, logged to W&B without a network."""
    root = tmp_path_factory.mktemp("run")
    photos = request.getfixturevalue("make_photos")(root)
    switches = ["ema=0.9", "accumulate=2", "clip=1.0", "label_smoothing=0.1", "precision=bf16-mixed", "data.check=true"]
    command = [sys.executable, str(REPO / "train.py"), *SMALL, *switches, f"data.root={photos}", "logger=wandb"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")} | {
        "NETRC": str(root / "netrc"),
        "XDG_CACHE_HOME": str(root / "cache"),
        "PATH": slurm_path,
    }
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (root / "stdout").write_text(done.stdout)
    (root / "stderr").write_text(done.stderr)
    return only(root, "runs/dotcom_tiny-image_folder/*")


def test_run__leaves_metrics_pictures_and_checkpoints(run):
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "curves.png", "predictions.png"} <= {f.name for f in run.iterdir()}
    names = {name for row in csv.DictReader((run / "metrics.csv").open()) for name, value in row.items() if value}
    assert {"train/loss", "val/loss", "val/top1", "val/top5", "val_ema/top1", "lr", "images/s"} <= names


def test_run__says_what_it_did_and_where_to_look(run):
    said = (run.parents[2] / "stdout").read_text()
    assert "dotcom_tiny-image_folder: 1.35 M parameters, block=qib, co_bias=true" in said
    assert "epoch 1/1" in said
    assert "top-1" in said
    assert str(run / "predictions.png") in said.replace("\n", "")


def test_run__prints_no_tips_and_nothing_twice(run):
    said = (run.parents[2] / "stdout").read_text() + (run.parents[2] / "stderr").read_text()
    assert "Tip" not in said
    assert "litlogger" not in said.lower()
    assert "srun" not in said
    lines = [line for line in said.splitlines() if len(line) > 20]
    assert sorted(lines) == sorted(set(lines))


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_checkpoint__is_plain_and_rebuilds_its_network(run, name):
    from dotcom.models import from_checkpoint

    saved = torch.load(run / name, weights_only=True)
    assert saved["config"]["model"]["variant"] == "tiny"
    assert saved["config"]["data"]["num_classes"] == 2
    json.dumps(saved["config"])
    network = from_checkpoint(run / name, ema=False)
    assert torch.equal(network.head.weight, saved["state_dict"]["model.head.weight"])
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    average = from_checkpoint(run / name)
    assert torch.equal(average.head.weight, saved["state_dict"]["ema.module.head.weight"])


def test_wandb__offline_run_holds_metrics_config_tags_and_pictures(run):
    from dotcom.wandb_file import read_records

    records = read_records(only(run, "wandb/offline-run-*/run-*.wandb"))
    history = [record.history for record in records if record.HasField("history")]
    logged = {item.key or "/".join(item.nested_key): item.value_json for row in history for item in row.item}
    assert {"train/loss", "val/top1", "val/top5", "val_ema/top1", "lr", "images/s"} <= set(logged)
    assert 0 <= float(logged["val/top1"]) <= 1
    (start,) = [record.run for record in records if record.HasField("run")][:1]
    config = {item.key: json.loads(item.value_json) for r in records for item in config_items(r)}
    assert config["co_bias"] is True
    assert config["model"]["variant"] == "tiny"
    assert {"dotcom_tiny", "image_folder", "seed=0"} <= set(start.tags)
    assert [r.exit.exit_code for r in records if r.HasField("exit")] == [0]
    assert list(run.glob("wandb/offline-run-*/files/media/images/val/predictions*.png"))


def config_items(record):
    yield from record.run.config.update if record.HasField("run") else ()
    yield from record.config.update if record.HasField("config") else ()


def test_evaluation__gives_the_score_of_the_run(run, train, tmp_path):
    data = [*SMALL, f"data.root={run.parents[2] / 'photos'}", "ema=0.9", "precision=bf16-mixed"]
    done = train(*data, "fit=false", f"ckpt_path={run / 'best.ckpt'}")
    row = next(line for line in (run.parents[2] / "stdout").read_text().splitlines() if " val " in line)
    again = next(line for line in done.stdout.splitlines() if " val " in line)
    assert row.split("│")[1:5] == again.split("│")[1:5]
    assert not list(tmp_path.glob("runs/*/*/*.ckpt"))


def test_evaluation__can_be_a_job_of_a_sweep(run, train, tmp_path):
    data = [*SMALL, f"data.root={run.parents[2] / 'photos'}", "ema=0.9", "precision=bf16-mixed", "fit=false"]
    train("-m", *data, f"ckpt_path={run / 'best.ckpt'},{run / 'last.ckpt'}")
    (path,) = tmp_path.glob("runs/sweep/*/sweep.json")
    scores = [job["score"] for job in json.loads(path.read_text())["jobs"].values()]
    assert scores == [json.loads((run / "run.json").read_text())["score"]] * 2  # one epoch: both hold the same


def test_resume_in_another_folder__is_asked_for(train):
    done = train("resume=true", check=False)
    assert done.returncode == 2
    assert "resume=true: expected hydra.run.dir=RUN with it" in done.stderr


def test_resume__goes_on_for_more_epochs(run, train, tmp_path):
    data = [*SMALL, f"data.root={run.parents[2] / 'photos'}", "ema=0.9", "accumulate=2"]
    done = train(*data, f"ckpt_path={run / 'last.ckpt'}", "epochs=3")
    assert "epoch 1/" not in done.stdout
    assert "epoch 2/3" in done.stdout
    last = torch.load(only(tmp_path, "runs/*/*/last.ckpt"), weights_only=True)
    assert last["epoch"] == 2
    assert last["global_step"] == 3  # one optimiser step per epoch of two batches


def test_weights__start_a_run_with_other_classes(run, train, photos):
    extra = [photos / split / "third" for split in ("train", "val")]
    for folder in extra:
        folder.mkdir()
        (folder / "1.jpg").write_bytes((photos / "val/dark/0.jpg").read_bytes())
    done = train(*SMALL, f"data.root={photos}", f"weights={run / 'best.ckpt'}")
    assert "2 skipped (head.weight, head.bias), 2 missing (head.weight, head.bias); 100.0% of the" in done.stdout


def test_weights__of_another_size_are_refused_in_one_line(run, train, photos):
    saved = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]
    torch.save(saved, photos / "bare.pt")  # without a configuration that could tell before the network is built
    done = train(*SMALL, f"data.root={photos}", f"weights={photos / 'bare.pt'}", "model=dotcom_small", check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "at least 90 % expected" in done.stderr


def test_sweep__runs_every_arm(train, photos, tmp_path):
    train("-m", *SMALL, f"data.root={photos}", "co_bias=true,false", "block=mv2")
    saved = [torch.load(path, weights_only=True)["config"] for path in tmp_path.glob("runs/sweep/*/*/best.ckpt")]
    assert sorted((config["co_bias"], config["block"]) for config in saved) == [(False, "mv2"), (True, "mv2")]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+trainer.profiler=nope", "error: trainer.profiler: When passing string value for the `profiler`"),
        ("hardware.strategy=nope", "invalid strategy name: `strategy='nope'`"),
    ],
)
def test_mistake_that_shows_late__is_one_line(train, photos, slurm_path, override, said):
    interactive = {"SLURM_JOB_NAME": "bash", "SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}  # of a shell under salloc
    done = train(*SMALL, f"data.root={photos}", override, check=False, PATH=slurm_path, **interactive)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_evaluation__refuses_other_classes(run, train, photos):
    for split in ("train", "val"):
        (photos / split / "dark").rename(photos / split / "ape")
    done = train(*SMALL, f"data.root={photos}", "ema=0.9", "fit=false", f"ckpt_path={run / 'best.ckpt'}", check=False)
    assert done.returncode == 2
    assert "it knows class 'dark' where these data have 'ape'" in done.stderr


def test_run_folder__is_not_written_twice(run, train):
    done = train(*SMALL, f"data.root={run.parents[2] / 'photos'}", f"hydra.run.dir={run}", check=False)
    assert done.returncode == 2
    assert f"hydra.run.dir={run}: it holds a run already" in done.stderr
    assert "val/top1" in (run / "metrics.csv").read_text()


def test_metrics__hold_each_epoch_once(run):
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/top1"]]
    assert [row["epoch"] for row in rows] == ["0"]


def test_sigterm__ends_with_143_and_says_how_to_go_on(photos, tmp_path):
    command = [sys.executable, str(REPO / "train.py"), *SMALL, f"data.root={photos}", "epochs=500"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("runs/*/*/last.ckpt")) and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"hydra.run.dir={only(tmp_path, 'runs/*/*/last.ckpt').parent} resume=true" in stderr
