"""The dashboard of W&B names what the runs of a sweep logged, says what they did not, and reaches a server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import wandb
from experiments.dashboard import INSTALL, main

from conftest import REPO
from dotcom.allowed import METRICS
from dotcom.errors import UsageError
from dotcom.logged import GRADIENTS, names
from wandb_server import Server
from wandb_specification import every, named

SCORES = {task.lower(): [f"val/{metric}" for metric in metrics] for task, metrics in METRICS.items()}
CONFIG = {"task": {"_target_": "dotcom.tasks.Detection"}, "model": {"co_bias": True}, "data": {"num_classes": 2}}
ALWAYS = ["train/loss", "lr", "images/s", *(name for name in names(CONFIG) if name.startswith(GRADIENTS))]
HISTOGRAMS = [name for name in names(CONFIG) if not name.startswith(GRADIENTS)]


def log_run(folder: Path, task: str = "classification", sweep: str = "mini", leave_out: tuple[str, ...] = ()) -> None:
    """A run as ``train.py`` logs one, but of noise: it takes a second."""
    config = {
        "arm": "co_bias=true",
        "sweep": sweep,
        "arms": ["co_bias=true"],
        "ema": None,
        "monitor": SCORES[task][0],
        **CONFIG,
        "task": {"_target_": f"dotcom.tasks.{task.capitalize()}"},
    }
    noise, pixels = np.random.default_rng(0), np.zeros((8, 8, 3), np.uint8)
    mask = {"mask_data": np.zeros((8, 8), np.uint8), "class_labels": {0: "dark"}}
    row: dict[str, Any] = dict.fromkeys(SCORES[task] + ALWAYS, 0.5)
    row |= {name: wandb.Histogram(noise.normal(size=50)) for name in HISTOGRAMS}
    row |= {"val/predictions": [wandb.Image(pixels)]}
    if task != "classification":
        row |= {"val/overlays": [wandb.Image(pixels, masks={"predictions": mask})]}
    if task != "detection":
        chart = wandb.plot.confusion_matrix(y_true=[0, 1], preds=[0, 0], class_names=["dark", "light"])
        row |= {"val/confusion": chart}
    row = {name: value for name, value in row.items() if name not in leave_out}
    folder.mkdir(parents=True)
    quiet = wandb.Settings(silent=True)
    run = wandb.init(mode="offline", dir=folder, project="dotcom", group=sweep, config=config, settings=quiet)
    run.log(row | {"trainer/global_step": 1})
    run.finish()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Two runs of noise that call themselves classifiers."""
    folder = tmp_path_factory.mktemp("sweeps") / "mini"
    for job in ("a", "b"):
        log_run(folder / job)
    return folder


def specification(sweep: Path) -> tuple[Any, Any]:
    main([str(sweep)])
    return tuple(json.loads((sweep / "dashboard" / f"{name}.json").read_text()) for name in ("workspace", "report"))


@pytest.mark.parametrize("task", SCORES)
def test_panels__show_all_that_the_task_logs_and_nothing_else(sweep, tmp_path, task):
    if task != "classification":
        log_run(tmp_path / "job", task)
        sweep = tmp_path
    expected = {*SCORES[task], *ALWAYS, *HISTOGRAMS, "val/predictions"}
    expected |= {"val/overlays"} if task != "classification" else set()
    expected |= {"val/confusion_table"} if task != "detection" else set()  # W&B keeps the table of a chart
    for part in specification(sweep):
        assert named(part) == expected


def test_curves__are_means_of_an_arm_with_a_band(sweep):
    for part in specification(sweep):
        curves = [panel["config"] for panels in every(part, "panels") for panel in panels if is_curve(panel)]
        assert len(curves) == len(SCORES["classification"] + ALWAYS)
        for curve in curves:
            assert curve["xAxis"] == "trainer/global_step"
            assert (curve["groupBy"], curve["groupAgg"], curve["groupArea"]) == ("arm.value", "mean", "minmax")
            assert curve["limit"] == 2  # all runs, where W&B's default is 10


def is_curve(panel: Any) -> bool:
    return isinstance(panel, dict) and panel.get("viewType") == "Run History Line Plot"


def test_runs__are_those_of_the_sweep_whatever_its_name(tmp_path):
    name = "it's co_bias=true,<a>"
    log_run(tmp_path / "job", sweep=name)
    for part in specification(tmp_path):
        filters = [item for items in every(part, "filters") if isinstance(items, list) for item in items]
        assert filters
        for item in filters:
            assert item["key"] == {"section": "run", "name": "group"}
            assert (item["op"], item["value"]) == ("=", name)


def test_name_that_no_run_logged__is_reported_and_has_no_panel(tmp_path, capsys):
    log_run(tmp_path / "job", leave_out=("val/confusion", "grad_norm/head", "lr"))
    parts = specification(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    missing = [line for line in lines if line.startswith("no run logged")]
    assert missing == [
        f"no run logged {name}: no panel for it" for name in ("lr*", "grad_norm/head", "val/confusion_table")
    ]
    assert not {"lr", "grad_norm/head", "val/confusion_table"} & set.union(*map(named, parts))


def test_offline__says_how_to_publish_in_two_lines(sweep, capsys):
    main([str(sweep), "--entity", "team"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"to publish, send the runs:  wandb sync --entity team {sweep}/*/wandb/offline-run-*",
        f"then both of these:         python -m experiments.dashboard {sweep} --entity team --publish",
    ]


def test_extra_that_is_missing__is_one_line_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.delitem(sys.modules, "experiments.panels", raising=False)
    with pytest.raises(UsageError, match="pip install") as caught:
        main([str(tmp_path)])
    assert str(caught.value) == INSTALL


def test_folder_without_runs_of_wandb__is_refused_in_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.dashboard", str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}: no W&B runs in it; expected the folder of a sweep with logger=wandb\n"


def test_runs_of_two_sweeps__are_refused(sweep, tmp_path):
    copytree(sweep, tmp_path, dirs_exist_ok=True)
    log_run(tmp_path / "c", sweep="other")
    with pytest.raises(UsageError, match="expected the runs of one sweep, these name mini, other"):
        main([str(tmp_path)])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def publish(sweep: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    wandb.teardown()  # it reads its environment once
    try:
        main([str(sweep), "--publish"])
    finally:
        wandb.teardown()


def test_publish__sends_what_was_written(sweep, monkeypatch, server, capfd):
    publish(sweep, monkeypatch, server.url)
    workspace, report = server.views
    assert (workspace["displayName"], report["displayName"]) == ("mini", "Sweep mini")
    for view, name in ((workspace, "workspace"), (report, "report")):
        assert (view["entityName"], view["projectName"]) == ("me", "dotcom")
        written = json.loads((sweep / "dashboard" / f"{name}.json").read_text())
        assert named(json.loads(view["spec"])) == named(written)
    assert capfd.readouterr().err.count(f"{server.url}/me/dotcom") == 2


def test_publish__without_a_server_writes_and_says_so(sweep, monkeypatch):
    with pytest.raises(UsageError, match=r"--publish: 127\.0\.0\.1 cannot be reached"):
        publish(sweep, monkeypatch, "http://127.0.0.1:1")
    assert (sweep / "dashboard/report.json").exists()
