"""What each rewrite for deployment gains over the network as published, in each runtime, at equal output.

    python -m experiments.rewrites
    python -m experiments.rewrites --runtimes onnx,executorch --variants tiny,base

Batch 1, 256x256, one thread pinned to one core, CPU time. All forms take turns in this process; a ratio is the median
over the rounds of the published form's time over this one's in the same runtime, with the 20 and 80 % quantiles.
Norms, scales and both Co-Bias are random, so that a wrong fold shows: beside each ratio stands the largest difference
from the eager network, relative to the spread of the logits. The last form of a runtime is another function, without
the first Co-Bias: its ratio, deployed / without, is what the additions cost. Needs about 10 minutes on two cores.
"""

import argparse
import csv
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import track
from rich.table import Table

from dotcom.errors import UsageError, did_you_mean, listed, one_line_errors
from dotcom.record import whole
from dotcom.text import make_console

FOLDER = Path(__file__).parent
RUNTIMES = ("onnx", "executorch", "openvino", "openvino bf16", "litert", "torch", "torch eager")
VARIANTS = ("tiny", "small", "base", "large")
COLUMNS = ("variant", "runtime", "form", "nodes", "ms", "ratio", "low", "high", "difference")


def main() -> None:
    """Convert, measure, write ``table.csv`` beside this file, and print it."""
    parser = argparse.ArgumentParser(prog="python -m experiments.rewrites", description=__doc__.splitlines()[0])
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="default: all that are installed")
    parser.add_argument(
        "--variants", default="tiny", help="the first with every form, others as published and deployed"
    )
    parser.add_argument("--size", type=int, default=256, help="of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--files", type=Path, help="keep the converted files here, and use those that are here")
    parser.add_argument("--out", type=Path, default=FOLDER / "table.csv")
    arguments = parser.parse_args()
    with one_line_errors():
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Everything after the arguments are parsed."""
    runtimes = chosen("--runtimes", arguments.runtimes, RUNTIMES)
    variants = chosen("--variants", arguments.variants, VARIANTS)
    pin()
    lines: list[dict[str, Any]] = []
    with TemporaryDirectory() as temporary:
        folder = arguments.files or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for some in measured(variants, runtimes, arguments.size, arguments.rounds, folder):
            lines += some
            with whole(arguments.out) as path, path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)
    show(lines, runtimes)


def chosen(option: str, text: str, known: Sequence[str]) -> list[str]:
    """The names of a list with commas."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"{option}={name}: expected some of {listed(known)}{did_you_mean(name, known)}")
    return names


def pin() -> None:
    """Keep this process, with every thread it starts, on one core: some runtimes take all there are."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measured(
    variants: Sequence[str], runtimes: Sequence[str], size: int, rounds: int, folder: Path
) -> Iterator[list[dict[str, Any]]]:
    """Convert all forms of a size and time them in turns; yields one line of the table each, size by size."""
    import torch
    from experiments.rewrites.forms import network
    from experiments.rewrites.rows import forms, row, skipped

    torch.set_num_threads(1)
    reasons = {runtime: skipped(runtime) for runtime in runtimes}
    for runtime, reason in reasons.items():
        if reason:
            print(f"{runtime} is left out: {reason}", flush=True)
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    for variant in variants:
        subject = network(variant)
        with torch.inference_mode():
            expected = subject(images).numpy()
        wanted = [
            (runtime, form)
            for runtime in runtimes
            if not reasons[runtime]
            for form in forms(variant, runtime, variants[:1])
        ]
        rows = [
            row(subject, variant, *one, size, folder) for one in track(wanted, f"converting {variant}", transient=True)
        ]
        times = timed([one.run for one in rows], images.numpy(), rounds, f"measuring {variant}")
        found = [one.run(images.numpy())["logits"] for one in rows]
        differences = [abs(logits - expected).max() / expected.std() for logits in found]
        yield [line(one, rows, times, difference) for one, difference in zip(rows, differences, strict=True)]


def timed(runs: Sequence[Callable[[Any], Any]], images: Any, rounds: int, what: str) -> list[list[float]]:
    """Milliseconds of one call of each, one value per round: its median over a turn."""
    from dotcom.benchmark.session import clock_of, turn, turns, warmed_up

    clock = clock_of(1)[1]
    calls = [warmed_up(run, images, clock) for run in runs]
    times: list[list[float]] = [[] for _ in runs]
    for number in track(range(rounds), what, transient=True):
        for index in turns(range(len(runs)), number):
            times[index].append(statistics.median(turn(runs[index], images, calls[index], clock)))
    return times


def line(one: Any, rows: Sequence[Any], times: Sequence[Sequence[float]], difference: float) -> dict[str, Any]:
    """One form against the published one in the same runtime; without the first Co-Bias, against the deployed one."""
    from experiments.rewrites.forms import DEPLOYED, PUBLISHED, WITHOUT

    from dotcom.benchmark.statistics import paired_ratio

    index, other = rows.index(one), DEPLOYED if one.form == WITHOUT else PUBLISHED
    first = next(i for i, row in enumerate(rows) if (row.runtime, row.form) == (one.runtime, other))
    ratio = paired_ratio(times[first], times[index])
    return {
        "variant": one.variant,
        "runtime": one.runtime,
        "form": one.form,
        "nodes": one.nodes,
        "ms": f"{statistics.median(times[index]):.1f}",
        "ratio": f"{ratio.median:.2f}",
        "low": f"{ratio.low:.2f}",
        "high": f"{ratio.high:.2f}",
        "difference": f"{difference:.0e}",
    }


def show(rows: Sequence[dict[str, Any]], runtimes: Sequence[str]) -> None:
    """Print the table, and what it was measured on."""
    from dotcom.benchmark.host import host, versions

    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("variant", "runtime", "form") else "right")
    for row in rows:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    make_console(width=140).print(table)
    for what, value in {**host(), **versions({name.split()[0] for name in runtimes})}.items():
        print(f"{what}: {value}")


if __name__ == "__main__":
    main()
