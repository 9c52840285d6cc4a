"""The plots and pictures of a study, each with its sentence for those who cannot see them."""

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Generic, TypeVar

from experiments.arms import Arm
from experiments.page.pictures import shrunk
from experiments.page.plots import Chart, Row, Strip, chart, short, strip
from experiments.records import Run
from experiments.study import Study

from dotcom.record import read_json

PICTURES = 500_000  # bytes for all examples together


Plot = TypeVar("Plot", Strip, Chart)


@dataclass(frozen=True)
class Drawn(Generic[Plot]):
    """A plot with its caption, a note on how to read it, and what it shows in a sentence."""

    plot: Plot
    caption: str
    note: str
    summary: str


@dataclass(frozen=True)
class Example:
    """A picture of one run's predictions."""

    arm: str
    seed: int
    uri: str


def strips(study: Study) -> list[Drawn[Strip]]:
    """The score of every seed by arm; then, if there are several arms, their differences to the reference."""
    factor, unit, points = (100, " (%)", " (points)") if study.percent else (1, "", "")
    scores = {
        arm.name: {seed: factor * value for seed, value in arm.scores(study.metric, study.at).items()}
        for arm in study.arms
    }
    numbers = {name: number for number, name in enumerate(scores)}
    rows = [Row(name, numbers[name], values, fmean(values.values())) for name, values in scores.items()]
    drawn = [drawn_strip("Every seed", f"{study.metric}{unit}", "dot: a seed; bar: mean", rows)]
    control = study.reference.name
    differences = [
        Row(
            one.arm,
            numbers[one.arm],
            {seed: scores[one.arm][seed] - scores[control][seed] for seed in one.seeds},
            factor * one.difference,
            None if one.low is None or one.high is None else (factor * one.low, factor * one.high),
        )
        for one in study.comparisons
    ]
    if differences:
        note = f"dot: a seed; bar: mean, with its {study.confidence} interval"
        title = f"difference of {study.metric}{points}"
        drawn.append(drawn_strip(f"Difference to {control}", title, note, differences, zero=True))
    return drawn


def drawn_strip(caption: str, title: str, note: str, rows: Sequence[Row], zero: bool = False) -> Drawn[Strip]:
    """A strip plot, said as the mean and the range of each row."""
    said = "; ".join(f"{row.label} {short(row.middle)}, {spread(row.points.values())}" for row in rows)
    return Drawn(strip(title, rows, zero), caption, note, f"{caption}. {title}, mean and range over seeds: {said}")


def charts(study: Study) -> list[Drawn[Chart]]:
    """The compared metric, then the losses, over training steps."""
    drawn = []
    for name in dict.fromkeys((study.metric, "val/loss", "train/loss")):
        factor, unit = (100, " (%)") if name == study.metric and study.percent else (1, "")
        arms = {number: [series(run, name, factor) for run in arm.runs] for number, arm in enumerate(study.arms)}
        plot = chart(f"{name}{unit}", arms)
        if plot:
            ends = "; ".join(
                f"{study.arms[curve.arm].name} {short(curve.mean[-1])}, {spread((curve.low[-1], curve.high[-1]))}"
                for curve in plot.curves
            )
            note = "line: mean over seeds; band: lowest to highest seed"
            said = f"{plot.title} over training steps; at the end, mean and range over seeds: {ends}"
            drawn.append(Drawn(plot, plot.title, note, said))
    return drawn


def series(run: Run, name: str, factor: float) -> dict[int, float]:
    """The values of a metric by training step, without those that no plot could show."""
    return {step: factor * value for step, value in run.curves.get(run.named(name), []) if math.isfinite(value)}


def spread(values: Iterable[float]) -> str:
    """Lowest to highest."""
    ordered = sorted(values)
    return f"{short(ordered[0])} to {short(ordered[-1])}"


def examples(arms: Sequence[Arm]) -> list[Example]:
    """``predictions.png`` of the first run of each arm that has one."""
    found = {
        arm.name: (run.seed, path)
        for arm in arms
        for run in reversed(arm.runs)
        if (path := run.folder / "predictions.png").is_file()
    }
    budget = PICTURES // max(1, len(found))
    return [Example(arm, seed, shrunk(path, budget)) for arm, (seed, path) in found.items()]


def commands(paths: Sequence[Path], arms: Sequence[Arm]) -> list[str]:
    """What made the runs: the command of each sweep, else of each arm's first run."""
    sweeps = [read_json(path / "sweep.json").get("command", []) for path in paths if (path / "sweep.json").is_file()]
    said = sweeps or [["train.py", *arm.runs[0].overrides] for arm in arms]
    return [shlex.join(["python", *words]) for words in said]
