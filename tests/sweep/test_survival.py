"""Sweeps of real training runs, killed without warning, and started again with the same command."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import REPO

SMALL = ["data=image_folder", "image_size=64", "data.batch_size=4", "hardware=cpu", "epochs=2", "slots=2"]
GRID = [*SMALL, "co_bias=true,false", "seed=range(0,5)"]


def start(root: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPO / "train.py"), "-m", *overrides, f"data.root={root / 'photos'}"]
    with (root / "sweep.log").open("a") as log:
        return subprocess.Popen(command, cwd=root, stdout=log, stderr=subprocess.STDOUT, text=True)


def sweep_json(root: Path) -> dict[str, Any]:
    (path,) = root.glob("runs/sweep/*/sweep.json")
    return json.loads(path.read_text())


def jobs(root: Path) -> dict[str, dict[str, Any]]:
    return sweep_json(root)["jobs"] if list(root.glob("runs/sweep/*/sweep.json")) else {}


def processes_of(root: Path) -> list[int]:
    """Those that train in this folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            inside = os.path.samefile(folder / "cwd", root)
        except OSError:
            continue
        if inside and any(word.startswith(b"hydra.run.dir=") for word in words):
            found.append(int(folder.name))
    return found


def wait_until(true: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_sweep_killed_three_times__runs_every_job_once_and_loses_none(tmp_path, photos):
    rng = random.Random(4)
    done_before: dict[str, str] = {}
    for victim in ("sweep", "job", "both"):
        process = start(tmp_path, *GRID)
        finished = sum(job["state"] == "done" for job in jobs(tmp_path).values())
        wait_until(lambda: sum(j["state"] == "done" for j in jobs(tmp_path).values()) > finished)  # noqa: B023
        time.sleep(rng.uniform(0, 8))
        running = processes_of(tmp_path)
        assert running
        if victim in ("job", "both"):
            os.kill(rng.choice(running), signal.SIGKILL)
        if victim in ("sweep", "both"):
            process.kill()
        else:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)
        wait_until(lambda: not processes_of(tmp_path), 30)  # no job outlives its sweep
        states = {name: job["state"] for name, job in jobs(tmp_path).items()}
        assert len(states) == 10
        assert set(states.values()) <= {"pending", "running", "preempted", "done"}
        for name, end in done_before.items():
            assert jobs(tmp_path)[name]["end"] == end
        done_before = {name: job["end"] for name, job in jobs(tmp_path).items() if job["state"] == "done"}
    assert start(tmp_path, *GRID).wait(timeout=300) == 0, (tmp_path / "sweep.log").read_text()
    final = jobs(tmp_path)
    assert {job["state"] for job in final.values()} == {"done"}
    for name, job in final.items():
        folder = tmp_path / "runs/sweep" / sweep_json(tmp_path)["name"] / name
        record = json.loads((folder / "run.json").read_text())
        assert (record["state"], record["score"], record["fingerprint"]) == ("done", job["score"], job["fingerprint"])
        assert (folder / "log.txt").read_text().count("--- 20") == job["attempts"]
        assert name not in done_before or job["end"] == done_before[name]
        rows = (folder / "metrics.csv").read_text()
        assert sum(bool(row.split(",")[0]) for row in rows.splitlines()) > 2
    assert len({tuple(job["overrides"]) for job in final.values()}) == 10


@pytest.mark.slow
def test_mixed_grid_of_one_and_two_processes__gives_exactly_its_runs(tmp_path, photos):
    mixed = [word for word in SMALL if not word.startswith(("hardware", "epochs"))]
    process = start(tmp_path, *mixed, "hardware=cpu,ddp_cpu", "co_bias=true,false", "epochs=1", "logger=wandb")
    assert process.wait(timeout=300) == 0, (tmp_path / "sweep.log").read_text()
    final = jobs(tmp_path)
    assert {tuple(job["arms"]) for job in final.values()} == {
        (hardware, co_bias)
        for hardware in ("hardware=cpu", "hardware=ddp_cpu")
        for co_bias in ("co_bias=true", "co_bias=false")
    }
    assert {job["state"] for job in final.values()} == {"done"}
    assert len(list(tmp_path.glob("runs/**/run.json"))) == 4
    assert len(list(tmp_path.glob("runs/**/metrics.csv"))) == 4
    runs = list(tmp_path.glob("runs/**/run-*.wandb"))
    assert len(runs) == len({path.name for path in runs}) == 4


def test_job_that_raises__is_listed_with_its_log_and_exits_with_1(tmp_path, photos):
    process = start(tmp_path, *SMALL, "hardware.strategy=auto,nope")
    assert process.wait(timeout=120) == 1
    said = (tmp_path / "sweep.log").read_text()
    assert "invalid strategy name" in said
    assert sorted(job["state"] for job in jobs(tmp_path).values()) == ["done", "failed"]
