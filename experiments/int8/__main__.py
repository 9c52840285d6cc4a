"""What int8 costs a trained network in accuracy, and gains it in size and time, per runtime.

    python -m experiments.int8 RUN/best.ckpt

Of the checkpoint's own validation images, 64 calibrate the ranges of activations and all others are judged; at most
one point of the score (``--lost``) may go. Float and int8 files take turns on the same image, one thread, batch 1;
times are CPU time, and a ratio is the median of the paired ones with their quartiles.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import track
from rich.table import Table

from dotcom.deploy import formats, int8
from dotcom.deploy.formats import Array, Runner
from dotcom.errors import UsageError, one_line_errors
from dotcom.inference.saved_run import saved_run
from dotcom.text import make_console

RUNTIMES = ("onnx", "executorch", "openvino")
CALIBRATION = 64  # images
COLUMNS = (
    "runtime",
    "float",
    "all int8",
    "int8",
    "float layers",
    "SQNR, dB",
    "float MB",
    "int8 MB",
    "float / int8 time",
    "quartiles",
)

Row = dict[str, str]


def measured(name: str, source: Any, lost: float, rounds: int, folder: Path) -> Row:
    """Write a float and an int8 file of one runtime, and compare them."""
    from dotcom.deploy.verify import scored

    judge = partial(scored, source.judge, samples=source.checked_on)
    graph, module = source.graph(name), formats.module(name)
    before, after = (folder / f"{kind}{module.SUFFIX}" for kind in ("float", "int8"))
    module.write(graph, before)
    score = judge(source.judge.published)
    facts = int8.write(name, graph, after, source.calibration, judge, score - lost)
    print(f"{name}: {facts}", flush=True)
    row = {
        "runtime": name,
        "float": f"{facts['float_score']:.4f}",
        "all int8": f"{facts['score_all_int8']:.4f}",
        "int8": f"{facts['score']:.4f}",
        "float layers": f"{len(facts['float_layers'])} of {len(facts['float_layers']) + facts['quantised']}",
        "SQNR, dB": f"{facts['sqnr_db']:.1f}",
        "float MB": f"{formats.size(before) / 1e6:.2f}",
        "int8 MB": f"{formats.size(after) / 1e6:.2f}",
    }
    if formats.unrunnable(name):
        return row | {"float / int8 time": "not run here", "quartiles": ""}
    ratios = sorted(paired(module.load(before, 1), module.load(after, 1), source.calibration, rounds))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return row | {"float / int8 time": f"{middle:.2f}", "quartiles": f"{low:.2f} to {high:.2f}"}


def paired(one: Runner, other: Runner, images: Sequence[Array], rounds: int) -> list[float]:
    """CPU time of one runner over that of another on the same image, a value per round after warming up."""
    ratios = []
    for number in track(range(-3, rounds), "timing", transient=True):
        image = images[number % len(images)]
        spent = []
        for run in (one, other):
            started = time.process_time()
            for _ in range(3):
                run(image)
            spent.append(time.process_time() - started)
        if number >= 0:
            ratios.append(spent[0] / spent[1])
    return ratios


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every runtime, then print the table and write it."""
    parser = argparse.ArgumentParser(prog="python -m experiments.int8", description=__doc__.splitlines()[0])
    parser.add_argument("ckpt", type=Path)
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="separated by commas (default: %(default)s)")
    parser.add_argument("--size", type=int, help="side of the images in pixels (default: the run's)")
    parser.add_argument("--images", type=int, default=10**9, help="judged images (default: all that do not calibrate)")
    parser.add_argument("--lost", type=float, default=0.01, help="of the score, at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="of timing (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a CSV file for the table")
    options = parser.parse_args(argv)
    names = options.runtimes.split(",")
    saved = saved_run(options.ckpt)
    for name in names:
        int8.require(name)
    source = opened(saved, options.size, options.images)
    images = f"{len(source.checked_on)} judged, {len(source.calibration)} calibrating"
    table = Table(title=f"{saved.task}, {source.image_size} pixels, {source.judge.metric}; images: {images}")
    with TemporaryDirectory() as folder:
        rows = [measured(name, source, options.lost, options.rounds, Path(folder)) for name in names]
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(row[column] for column in COLUMNS))
    make_console(width=150).print(table)
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def opened(saved: Any, size: int | None, images: int) -> Any:
    """The checkpoint and its images: those that calibrate, and up to ``images`` others."""
    import torch

    from dotcom.data.checkpoint import data_of
    from dotcom.deploy.export import Source

    torch.set_num_threads(1)
    data = data_of(saved.config)
    data.setup("validate")
    others = len(data.datasets["val"]) - CALIBRATION
    if others < 1:
        raise UsageError(f"{saved.path}: its data have too few validation images to judge any but {CALIBRATION}")
    side = size or saved.config["data"]["val_transform"].get("image_size", saved.config.get("image_size"))
    return Source(saved, saved.config["data"], side, min(images, others), int8=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
