"""Every job is a W&B run of its own, found by its sweep, its arm and its seed; read back from the offline files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from dotcom.loggers import run_id, wandb_logger
from wandb_jobs import finish, read, start
from wandb_server import Server


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_photos):
    folder = tmp_path_factory.mktemp("wandb")
    make_photos(folder)
    return folder


@pytest.fixture(scope="module")
def jobs(root) -> list[SimpleNamespace]:
    """What the four jobs of a sweep over Co-Bias and seed left, in one process after another."""
    arms = "arms=['co_bias=${co_bias}']"
    where = ["hydra/launcher=basic", "hydra.sweep.dir=runs/sweep/mini"]
    finish(root, "-m", "co_bias=true,false", "seed=0,1", "epochs=1", arms, "sweep=mini", *where)
    return [read(path) for path in sorted(root.glob("runs/sweep/mini/*/wandb/offline-run-*/run-*.wandb"))]


def test_run_id__is_that_of_the_job_and_of_no_other(tmp_path):
    here = run_id("0a1b2c3d", str(tmp_path / "mini/a"))
    assert here == run_id("0a1b2c3d", str(tmp_path / "mini/b/../a"))  # found again, however the folder is spelled
    others = {
        run_id("0a1b2c3d", str(tmp_path / "mini/ddp")),  # differs in hardware only
        run_id("0a1b2c3d", str(tmp_path / "again/a")),  # the same arm in another sweep
        run_id("ffffffff", str(tmp_path / "mini/a")),  # another experiment in the same folder
    }
    assert len({here, *others}) == 4
    assert here.startswith("0a1b2c3d-")
    assert len(here) <= 64
    assert not set(here) & set("/\\#?%:")  # W&B refuses these


def test_sweep__is_one_run_for_each_job(jobs):
    assert len(jobs) == 4
    assert len({job.run.run_id for job in jobs}) == 4
    for job in jobs:
        folder = job.path.parents[2]
        assert job.run.run_id == run_id(job.run.run_id[:8], str(folder))
        assert job.run.resume
        assert job.exits == [0]


def test_sweep__is_the_group_and_the_task_is_the_job_type(jobs):
    assert {job.run.run_group for job in jobs} == {"mini"}
    assert {job.run.job_type for job in jobs} == {"classification"}


def test_sweep__tags_each_run_with_its_arm_its_seed_and_what_it_trains(jobs):
    tags = sorted(sorted(job.run.tags) for job in jobs)
    arms = [(arm, seed) for arm in ("co_bias=False", "co_bias=True") for seed in ("seed=0", "seed=1")]
    assert tags == [sorted([arm, "dotcom_tiny", "image_folder", seed]) for arm, seed in arms]
    assert all(job.config["arm"] in job.run.tags for job in jobs)  # by which a dashboard groups


def test_sweep__logs_every_step_once(jobs):
    for job in jobs:
        steps = [row["_step"] for row in job.rows]
        assert steps == list(range(len(steps)))
        assert {"train/loss", "val/loss", "val/top1", "lr", "images/s"} <= {name for row in job.rows for name in row}


def test_failed_job__ends_its_run_with_an_exit_code(root):
    process = start(root, "+trainer.val_check_interval=100000", "hydra.run.dir=failed")  # found once it trains
    process.communicate(timeout=120)
    assert process.returncode == 2
    (path,) = root.glob("failed/wandb/offline-run-*/run-*.wandb")
    assert read(path).exits == [1]


@pytest.fixture(scope="module")
def stopped(root) -> list[Path]:
    """The two files of a job of 15 epochs that was stopped by SIGTERM, and went on with the same command."""
    command = [
        "epochs=15",
        "hydra.run.dir=stopped",
        "resume=true",
        "callbacks.confusion=null",
    ]  # Server takes no tables
    process = start(root, *command)
    while not (root / "stopped/last.ckpt").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    finish(root, *command)
    return sorted(root.glob("stopped/wandb/offline-run-*/run-*.wandb"))


@pytest.mark.slow
def test_stopped_job__ends_its_run_with_143_and_goes_on_in_the_same_run(stopped):
    first, second = map(read, stopped)
    assert (first.exits, second.exits) == ([143], [0])
    assert first.run.run_id == second.run.run_id
    rows = first.rows + second.rows
    assert [row["epoch"] for row in rows if "val/top1" in row] == list(range(15))  # none twice, none lost
    for name in ("train/loss", "val/loss", "lr", "images/s"):
        steps = [row["trainer/global_step"] for row in rows if name in row]
        assert steps == sorted(set(steps)), name


def synced(paths: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each run on a server to which these files were sent, in its order."""
    with Server() as server:
        env = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40}
        command = [sys.executable, "-m", "wandb", "sync", *(str(path.parent) for path in paths)]
        where: dict[str, Any] = {"cwd": paths[0].parents[2], "env": env}
        done = subprocess.run(command, **where, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return {name: [json.loads(line) for line in lines] for name, lines in server.runs.items()}


@pytest.mark.slow
def test_stopped_job__is_one_run_on_the_server_with_each_step_once(stopped):
    ((name, rows),) = synced(stopped).items()
    assert name == read(stopped[0]).run.run_id
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert [row["epoch"] for row in rows if "val/top1" in row] == list(range(15))


def test_job_that_begins_again__is_one_run_with_each_step_once(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # it reads its environment once
    for rows in (3, 5):  # it ended before its first checkpoint, so the second attempt knows nothing of the first
        logger = wandb_logger("dotcom", "name", str(tmp_path), None, "classification", [], id="0a1b2c3d-00000000")
        for step in range(rows):
            logger.log_metrics({"loss": float(step)}, step)
        wandb.finish()
    wandb.teardown()
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)
    ((name, rows),) = synced(files).items()
    assert name == "0a1b2c3d-00000000"
    assert [(row["_step"], row["loss"]) for row in rows] == [(step, float(step)) for step in range(5)]
