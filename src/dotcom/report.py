"""What a finished run leaves for people: the curves as a picture, and a closing table."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table
from torch import Tensor, nn

from dotcom.errors import counted, spelled
from dotcom.hardware import Loading
from dotcom.models.cost import parameters
from dotcom.optim import batch_of_step, rate_factor
from dotcom.record import curves
from dotcom.text import csv_cell, make_console, say, visible

NAMES = {  # of the metrics, in the order of the closing table
    "top1": "top-1",
    "top5": "top-5",
    "map": "mAP",
    "map_50": "mAP50",
    "map_75": "mAP75",
    "map_small": "small",
    "map_medium": "medium",
    "map_large": "large",
    "miou": "mIoU",
    "pixel_accuracy": "pixel acc.",
    "loss": "loss",
}
FILES = {
    "curves.png": "curves",
    "predictions.png": "predictions",
    "predictions.json": "detections",
    "per_class.csv": "per class",
    "metrics.csv": "metrics",
    "best.ckpt": "best",
    "last.ckpt": "last",
    "average.ckpt": "average",
}


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """From a metrics.csv, the (step, value) pairs of each name."""
    with path.open(newline="") as file:
        return curves(csv.DictReader(file))


def draw_curves(folder: Path) -> None:
    """Draw ``curves.png`` from ``metrics.csv``: losses left, the other validation metrics right."""
    series = read_metrics(folder / "metrics.csv") if (folder / "metrics.csv").exists() else {}
    losses = {name: points for name, points in series.items() if name.endswith("/loss")}
    scores = {name: points for name, points in series.items() if name.startswith("val") and name not in losses}
    if not losses or not scores:
        return
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, shown, label in zip(figure.subplots(1, 2), (losses, scores), ("loss", "score"), strict=True):
        for name, points in sorted(shown.items()):
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 40 else "")
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / "curves.png", dpi=100)


@rank_zero_only
def describe(config: dict[str, Any], network: nn.Module, trainer: L.Trainer, loading: Loading) -> None:
    """Say in a few lines what is about to run, on what, with which batch, rate and loading, and where it writes."""
    millions = parameters(network) / 1e6
    device = trainer.strategy.root_device
    units = counted(loading.torch_threads, "thread") if device.type == "cpu" else f"{trainer.world_size} device(s)"
    layout = ", channels_last" if config["channels_last"] else ""
    model = config["model"]
    peer = f", timm's {model['name']}" if "name" in model else ""
    switches = f", block={model['block']}, co_bias={spelled(model['co_bias'])}" if "co_bias" in model else peer
    say(f"{config['run_name']}: {millions:.2f} M parameters{switches}")
    print(f"on {device.type}, {units}, {config['precision']}{layout}, seed {config['seed']}")
    print(steps(config, trainer.world_size))
    print(loading)
    if config["weights"]:
        print(prepared_images(config["data"]))
    say(f"writing to {config['output_dir']}")


def prepared_images(data: Mapping[str, Any]) -> str:
    """How images are prepared for the weights that the run starts from, in one line."""
    transform = data["val_transform"]
    said = f"images with mean {spelled(list(data['mean']))} and deviation {spelled(list(data['std']))}"
    if "interpolation" not in transform:
        return said
    return f"{said}, {transform['interpolation']}, validation {transform['image_size']} of {transform['resize']} pixels"


def steps(config: dict[str, Any], processes: int) -> str:
    """The batch of an optimiser step and the peak learning rate, and how they come about."""
    parts = {"processes": processes, "accumulated": config["accumulate"]}
    factors = "".join(f" x {number} {name}" for name, number in parts.items() if number > 1)
    given, factor = config["optimizer"]["lr"], rate_factor(config, processes)
    rule = f" ({config['lr_scaling']}: {given:g} for {config['lr_batch']} images)" if config["lr_scaling"] else ""
    batch = f" ({config['data']['batch_size']}{factors})" if factors else ""
    synced = ", batch norms over all processes" if config["sync_batchnorm"] and processes > 1 else ""
    return f"{batch_of_step(config, processes)} images a step{batch}, learning rate {given * factor:g}{rule}{synced}"


@rank_zero_only
def report(
    config: dict[str, Any],
    scores: Mapping[str, float],
    trainer: L.Trainer,
    per_class: Mapping[str, Mapping[str, float]],
    speed: Tensor | None,
    minutes: float,
) -> None:
    """Print one row per class, if the task has any, one per network (``val``, ``val_ema``), then where to look."""
    console, folder = make_console(), Path(config["output_dir"])
    images = trainer.datamodule.evaluated_images  # type: ignore[attr-defined]
    console.print(f"{visible(config['run_name'])}, {images:,} validation images", soft_wrap=True)
    if per_class:
        console.print(class_table(per_class))
        write_classes(folder / "per_class.csv", per_class)
    pace = ("-", "-") if speed is None else (f"{float(speed):.0f}", f"{minutes:.1f}")
    if scores:
        console.print(score_table(scores, pace))
    for line in left_undone(config, scores, folder):
        console.print(line, soft_wrap=True)
    draw_curves(folder)
    for name, what in FILES.items():
        if (folder / name).exists():
            console.print(visible(f"{what:<12}{folder / name}"), soft_wrap=True)


def left_undone(config: Mapping[str, Any], scores: Mapping[str, float], folder: Path) -> list[str]:
    """What a run that its trainer's settings cut short does not leave, and why; empty for any other run."""
    limits = ("limit_train_batches", "limit_val_batches", "max_steps", "max_time", "check_val_every_n_epoch")
    given = [f"trainer.{key}={spelled(config['trainer'][key])}" for key in limits if key in config["trainer"]]
    why = f" ({', '.join(given)})" if given else ""
    if not scores:
        return [f"no score was measured, and there is no best.ckpt{why}"]
    if config["fit"] and not (folder / "best.ckpt").exists():
        return [f"no best.ckpt: training ended before its first validation{why}; these scores are of the last weights"]
    return []


def score_table(scores: Mapping[str, float], pace: tuple[str, str]) -> Table:
    """One row per network: losses as they are, all else in percent; then images/s and minutes."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in scores.items():
        network, _, metric = name.partition("/")
        rows.setdefault(network, {})[metric] = value
    shown = {metric: title for metric, title in NAMES.items() if any(metric in row for row in rows.values())}
    table = Table()
    for heading in ("network", *shown.values(), "images/s", "minutes"):
        table.add_column(heading, justify="right")
    for network, row in rows.items():
        cells = [f"{row[metric]:.3f}" if metric == "loss" else f"{row[metric]:.1%}" for metric in shown]
        table.add_row(network, *cells, *pace)
    return table


def class_table(per_class: Mapping[str, Mapping[str, float]]) -> Table:
    """One row per class, in percent."""
    table = Table()
    table.add_column("class")
    for heading in next(iter(per_class.values())):
        table.add_column(heading, justify="right")
    for name, row in per_class.items():
        table.add_row(visible(name), *(f"{value:.1%}" for value in row.values()))
    return table


def write_classes(path: Path, per_class: Mapping[str, Mapping[str, float]]) -> None:
    """The same as a file, with all digits."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["class", *next(iter(per_class.values()))])
        writer.writerows([csv_cell(name), *row.values()] for name, row in per_class.items())
