"""Folders of runs and sweeps as train.py leaves them, without training."""

import csv
import json
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from test_checked import asked

HEADER = ("epoch", "step", "train/loss", "val/loss", "val/top1")
STEPS = 188  # of an epoch


@cache
def resolved(overrides: str) -> dict[str, Any]:
    return asked(overrides)


def write_run(folder: Path, overrides: list[str], top1: list[float], **changes: Any) -> Path:
    """A run that is done; ``top1`` of each epoch, the best of which is that of best.ckpt.

    Args:
        folder: To be made.
        overrides: ``key=value``, the seed among them; all others are arms.
        top1: In [0, 1].
        changes: Of ``run.json``; ``None`` takes the entry away.
    """
    folder.mkdir(parents=True)
    seed = next(int(override.partition("=")[2]) for override in overrides if override.startswith("seed="))
    arms = [override for override in overrides if not override.startswith("seed=")]
    config = deepcopy(resolved(" ".join(arms))) | {"seed": seed, "output_dir": str(folder)}
    config["data"]["seed"] = seed
    best = max(top1)
    facts = {
        "version": 1,
        "name": "dotcom_tiny-fashion",
        "fingerprint": "3fa9c1d2",
        "config": config,
        "choices": {"model": "dotcom_tiny", "data": "fashion", "hardware": "cpu"} | chosen(arms),
        "overrides": overrides,
        "sweep": None,
        "arms": arms,
        "seed": seed,
        "commit": "abc1234",
        "versions": {"dotcom": "0.1.0", "torch": "2.14.1", "lightning": "2.6.6", "python": "3.11.7"},
        "state": "done",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:04:00+00:00",
        "parameters": 1_349_162,
        "macs": 27_100_000,
        "minutes": 3.5 + seed,
        "images_per_second": 400.0,
        "monitor": "val/top1",
        "score": best,
        "scores": {"val/top1": best, "val/loss": 1 - best},
    }
    (folder / "run.json").write_text(json.dumps({k: v for k, v in (facts | changes).items() if v is not None}))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, value in enumerate(top1):
            epoch, step = config["epochs"] - len(top1) + number, (number + 1) * STEPS - 1
            writer.writerow([epoch, step - 50, 1.5 - value, "", ""])
            writer.writerow([epoch, step, "", 1 - value, value])
    return folder


def chosen(arms: list[str]) -> dict[str, str]:
    pairs = [arm.split("=", 1) for arm in arms]
    return {key: value for key, value in pairs if key in ("model", "optimizer", "hardware")}


def write_sweep(folder: Path, swept: dict[str, list[str]], top1: dict[tuple[str, ...], float]) -> Path:
    """A sweep, all of its jobs done; ``top1`` of the last epoch, by the values in the order of ``swept``."""
    jobs = {}
    for values in product(*swept.values()):
        overrides = [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
        name = "__".join(override.replace("=", "-") for override in overrides)
        write_run(folder / name, overrides, [0.1, 0.9, top1[values]], sweep=folder.name)
        jobs[name] = job(overrides)
    write_jobs(folder, swept, jobs)
    return folder


def job(overrides: list[str], state: str = "done") -> dict[str, Any]:
    """The entry of a job; Hydra spells its overrides anew."""
    own = {"overrides": [override.replace("true", "True") for override in overrides], "state": state}
    return own | {"arms": [override for override in overrides if not override.startswith("seed=")]}


def write_jobs(folder: Path, swept: dict[str, list[str]], jobs: dict[str, Any]) -> None:
    facts = {"version": 1, "name": folder.name, "command": ["train.py", "-m"], "swept": swept, "jobs": jobs}
    (folder / "sweep.json").write_text(json.dumps(facts))


def change(folder: Path, **settings: Any) -> None:
    """Change the configuration of a run, by dotted keys with ``__`` for the dot."""
    path = folder / "run.json"
    facts = json.loads(path.read_text())
    for key, value in settings.items():
        *parents, last = key.split("__")
        node = facts["config"]
        for parent in parents:
            node = node[parent]
        node[last] = value
    path.write_text(json.dumps(facts))
