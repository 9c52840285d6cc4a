"""What the runs of a sweep logged to W&B, from the files that they left, offline or online. Needs no account."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.progress import track

from dotcom.config import METRICS
from dotcom.errors import UsageError, listed
from dotcom.logged import CONFUSION, GRADIENTS, names

SCORES = [f"{network}/{metric}" for network in ("val", "val_ema") for metrics in METRICS.values() for metric in metrics]
SECTIONS = {  # patterns of names
    "Scores": SCORES,
    "Training": ["train/*", "lr*", "images/s"],
    "Gradient norms": [f"{GRADIENTS}*"],
    "Co-Bias": ["co_bias/*"],
    "Activations around Co-Bias": ["activations/*"],
    "Predictions": ["val/predictions", "val/overlays"],
    "Confusion matrix": [f"{CONFUSION}*"],
}


@dataclass(frozen=True)
class Logged:
    """What the runs of a sweep sent to W&B.

    Args:
        sweep: Its name, the group of its runs.
        project: Where they are.
        entity: Whose project it is; empty for the default one.
        runs: How many there are.
        configs: Their configurations.
        values: The last value of each name in any run, as JSON; ``_type`` tells a picture from a histogram.
    """

    sweep: str
    project: str
    entity: str
    runs: int
    configs: list[dict[str, Any]]
    values: dict[str, Any]

    @property
    def monitors(self) -> list[str]:
        """The metrics that chose the best checkpoints."""
        return sorted({config["monitor"] for config in self.configs} & set(self.values))

    @property
    def arms(self) -> bool:
        """Whether the runs have arms; otherwise they differ in their seeds only."""
        return any(config["arms"] for config in self.configs)

    @property
    def sections(self) -> dict[str, list[str]]:
        """What was logged, by section, each name once."""
        found = {
            title: dict.fromkeys(name for pattern in patterns for name in matching(pattern, self.values))
            for title, patterns in SECTIONS.items()
        }
        return {title: list(names) for title, names in found.items() if names}

    @property
    def missing(self) -> list[str]:
        """What the configurations let one expect, but no run logged."""
        wanted = dict.fromkeys(pattern for config in self.configs for pattern in expected(config))
        return [pattern for pattern in wanted if not matching(pattern, self.values)]


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern with ``*`` stands for, in order."""
    return sorted(name for name in names if fnmatchcase(name, pattern))


def expected(config: dict[str, Any]) -> list[str]:
    """Patterns of the names that a run leaves in the history of W&B."""
    task = config["task"]["_target_"].rpartition(".")[2]
    networks = ("val", "val_ema") if config["ema"] else ("val",)
    scores = [f"{network}/{metric}" for network in networks for metric in METRICS[task]]
    overlays = [] if task == "Classification" else ["val/overlays"]
    return [*scores, "train/loss", "lr*", "images/s", "val/predictions", *overlays, *names(config)]


def read_logged(folder: Path) -> Logged:
    """Gather what the jobs of a sweep logged.

    Raises:
        UsageError: If nothing was logged to W&B there, or not by one sweep.
    """
    files = sorted(folder.glob("*/wandb/*run-*/run-*.wandb"))
    if not files:
        raise UsageError(f"{folder}: no W&B runs in it; expected the folder of a sweep with logger=wandb")
    summaries = [summary(file) for file in track(files, "reading", transient=True)]
    configs = [run["config"] for run in summaries if "task" in run["config"]]  # others ended before they began
    sweeps = sorted({config["sweep"] for config in configs if config["sweep"]})
    if len(sweeps) != 1:
        raise UsageError(f"{folder}: expected the runs of one sweep, these name {listed(sweeps) or 'none'}")
    return Logged(
        sweep=sweeps[0],
        project=summaries[0]["project"],
        entity=summaries[0]["entity"],
        runs=len({run["run_id"] for run in summaries}),
        configs=configs,
        values={name: value for run in summaries for name, value in run["summary"].items() if name[0] != "_"},
    )


def summary(file: Path) -> dict[str, Any]:
    """Configuration and last values of a W&B run, by W&B's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"{file}: W&B cannot read it: {done.stderr.strip().splitlines()[-1:]}")
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
