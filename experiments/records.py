"""Runs and sweeps as their folders tell them: what was trained, how, what came out. Needs no account, no torch."""

import csv
import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from dotcom.errors import UsageError, did_you_mean, listed, spelled
from dotcom.record import curves, read_json
from dotcom.record import read_run as read_run_record

USED = "used/"  # before a metric: of the network that is used after training


@dataclass(frozen=True)
class Run:
    """One finished run, from its ``run.json`` and ``metrics.csv``.

    Args:
        folder: The run directory.
        name: As the run calls itself, ``dotcom_tiny-fashion``; not unique.
        seed: What the runs of two arms are paired by.
        arms: ``key=value`` of every swept key but the seed, as it was written on the command line.
        config: The resolved configuration, nested dicts.
        choices: Choice of every configuration group, ``{"model": "dotcom_tiny"}``.
        overrides: As on the command line.
        commit: Of the code that ran, or None.
        versions: Of dotcom, torch, lightning and python.
        parameters: Of the network.
        macs: Multiply-accumulates of one image.
        minutes: Of training, over all attempts.
        monitor: The metric that chose ``best.ckpt``.
        scores: All metrics of ``best.ckpt``; top-1 and the like in [0, 1].
        started: When, as ISO 8601; None where the record does not say, as below.
        ended: When.
        images_per_second: Of training, in the last epoch.
    """

    folder: Path
    name: str
    seed: int
    arms: list[str]
    config: dict[str, Any]
    choices: dict[str, str | None]
    overrides: list[str]
    commit: str | None
    versions: dict[str, str]
    parameters: int
    macs: int
    minutes: float
    monitor: str
    scores: dict[str, float]
    started: str | None = None
    ended: str | None = None
    images_per_second: float | None = None

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Of ``metrics.csv``."""
        with (self.folder / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """The (training step, value) pairs of every name in ``metrics.csv``, in the order of the file."""
        try:
            return curves(self.rows)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # cut off, or not ours
            path = self.folder / "metrics.csv"
            raise UsageError(f"{path}: expected columns step, epoch and numbers below names ({error})") from error

    def named(self, metric: str) -> str:
        """A metric's name in this run: ``used/top1`` is ``val_ema/top1`` with a moving average, else ``val/top1``."""
        network = "val_ema/" if self.config.get("ema") else "val/"
        return network + metric.removeprefix(USED) if metric.startswith(USED) else metric

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """The (training step, value) pairs of one name.

        Raises:
            UsageError: If there is no such name.
        """
        return known(self.named(metric), self.curves, f"{self.folder / 'metrics.csv'}")

    def value(self, metric: str, at: str = "last") -> float:
        """The metric after the last epoch (``last``), or of ``best.ckpt`` (``best``).

        Raises:
            UsageError: If it was not measured, or is not finite.
        """
        metric, best = self.named(metric), at == "best"
        value = known(metric, self.scores, f"{self.folder / 'run.json'}") if best else self.curve(metric)[-1][1]
        if not best:
            self.check_complete(metric)
        if value is None or not math.isfinite(value):
            raise UsageError(f"{self.folder}: {metric} is {value}; expected a number, leave this run out")
        return float(value)

    def check_complete(self, metric: str) -> None:
        """Raise UsageError unless the last row with the metric is whole and of the last epoch."""
        path, last = self.folder / "metrics.csv", self.config["epochs"] - 1
        found = [row["epoch"] for row in self.rows if row.get(metric)][-1]
        if found != str(last) or not path.read_bytes().endswith(b"\n"):
            raise UsageError(
                f"{path}: {metric} ends at epoch {found or 'unknown'}, or its last row is cut off; "
                f"expected epoch {last} and a whole row; use --at best, or run it again"
            )

    def setting(self, key: str) -> str:
        """The choice of a group or the value of a dotted key, as on the command line; ``unset`` if there is none."""
        if key in self.choices:
            return spelled(self.choices[key])
        node: Any = self.config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return "unset"
            node = node[part]
        return spelled(node)


def load(paths: Iterable[str | Path]) -> list[Run]:
    """The runs of some run directories and the done jobs of some sweep directories, each once.

    The jobs of a sweep come in the order in which its values were written, so do its arms. See ``left_out``.

    Raises:
        UsageError: If a folder is neither, a run is not done, or nothing is done.
    """
    folders = [folder for path in map(Path, paths) for folder in run_folders(path)]
    return [read_run(folder) for folder in {folder.resolve(): folder for folder in folders}.values()]


def left_out(paths: Iterable[str | Path]) -> list[str]:
    """For each sweep with jobs that are not done, a sentence that names them."""
    sentences = []
    for path in map(Path, paths):
        if not (path / "sweep.json").is_file():
            continue
        sweep = read_record(path / "sweep.json")
        check_sweep(path / "sweep.json", sweep)
        jobs = sweep["jobs"]
        missing = [f"{name} ({job['state']})" for name, job in jobs.items() if job["state"] != "done"]
        if missing:
            sentences.append(
                f"{path}: {len(missing)} of {len(jobs)} jobs are not done, left out: {listed(missing, 20)}"
            )
    return sentences


def run_folders(path: Path) -> list[Path]:
    """The folder itself if it holds a run; of a sweep, those of its done jobs in swept order."""
    if (path / "run.json").is_file():
        return [path]
    if not (path / "sweep.json").is_file():
        inside = sorted({file.parent for name in ("run.json", "sweep.json") for file in path.glob(f"*/{name}")})
        hint = f"; did you mean {path}/*?" if inside else ""
        raise UsageError(f"{path}: expected the folder of a run (with run.json) or of a sweep (sweep.json){hint}")
    sweep = read_record(path / "sweep.json")
    check_sweep(path / "sweep.json", sweep)
    done = {name: job for name, job in sweep["jobs"].items() if job["state"] == "done"}
    if not done:
        raise UsageError(f"{path}: none of its {len(sweep['jobs'])} jobs is done; continue the sweep first")

    swept = {key.lstrip("+"): values for key, values in sweep["swept"].items() if key != "seed"}

    def place(name: str) -> list[int]:
        written = dict(arm.lstrip("+").partition("=")[::2] for arm in done[name]["arms"])
        return [values.index(written[key]) if written.get(key) in values else 0 for key, values in swept.items()]

    return [path / name for name in sorted(done, key=place)]


def check_sweep(path: Path, sweep: dict[str, Any]) -> None:
    """Raise UsageError unless ``sweep.json`` holds jobs and what was swept."""
    jobs, swept = sweep.get("jobs"), sweep.get("swept")
    entries = list(jobs.values()) if isinstance(jobs, dict) else [None]
    if (
        not all(isinstance(entry, dict) and isinstance(entry.get("state"), str) for entry in entries)
        or not all(is_list_of_text(entry.get("arms")) for entry in entries)
        or not isinstance(swept, dict)
        or not all(map(is_list_of_text, swept.values()))
    ):
        raise UsageError(f"{path}: damaged; run the command of the sweep again, which makes it anew from its jobs")


def is_list_of_text(value: Any) -> bool:
    """Whether a value is a list that holds nothing but text."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def read_run(folder: Path) -> Run:
    """One run.

    Raises:
        UsageError: If it is not done, is a trial, or its ``run.json`` lacks something.
    """
    path = folder / "run.json"
    facts = read_record(path)
    read_run_record(folder)
    if not isinstance(facts.get("seed", 0), int) or not isinstance(facts.get("config", {}), dict):
        raise UsageError(f"{path}: expected a whole number as seed and an object as config; run it again")
    if facts.get("state") != "done":
        raise UsageError(f"{folder}: expected a run that is done, this one is {facts.get('state')}; finish it first")
    names = {entry.name: entry.default is MISSING for entry in fields(Run) if entry.name != "folder"}
    if missing := [name for name, needed in names.items() if needed and name not in facts]:
        raise UsageError(f"{path}: lacks {listed(missing)}; expected what train.py writes at the end of a run")
    if facts.get("smoke"):
        raise UsageError(f"{folder}: a trial (smoke=true), no result; leave it out")
    if facts["config"].get("fit") is False:
        raise UsageError(f"{folder}: an evaluation (fit=false), no other seed of a training; leave it out")
    return Run(folder=folder, **{name: facts.get(name) for name in names})


def read_record(path: Path) -> dict[str, Any]:
    """``run.json`` or ``sweep.json``, or a UsageError."""
    facts = read_json(path)
    if not facts:
        raise UsageError(f"{path}: no such record, though its sweep says that the job is done; run it again")
    if facts.get("version") != 1:
        raise UsageError(f"{path}: expected a record of version 1; it was written by another version of dotcom")
    return facts


def known(name: str, table: dict[str, Any], where: str) -> Any:
    """``table[name]``, or a UsageError that suggests a name."""
    if name not in table:
        expected = listed([key for key in table if key.startswith("val")] or list(table), 8, " | ")
        raise UsageError(f"{where}: no metric {name}; expected {expected}{did_you_mean(name, table)}")
    return table[name]
