"""Latency against the README's top-1: one panel per runtime and number of threads, every point with its name."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from dotcom.benchmark.labels import Point, draw_points, write_names
from dotcom.benchmark.table import Line
from dotcom.record import whole

OURS, PEERS = "#c2410c", "#475569"


def draw(lines: Sequence[Line], path: Path) -> bool:
    """Write a PNG; returns False if no row has a published top-1."""
    panels: dict[tuple[str, int], list[Point]] = {}
    for line in lines:
        if line.published_top1 is not None:
            point = Point(line.p50_ms, line.published_top1, line.model, colour(line.model))
            panels.setdefault((line.runtime, line.threads), []).append(point)
    if not panels:
        return False
    columns = min(2, len(panels))
    down = -(-len(panels) // columns)
    figure = Figure(figsize=(8 * columns, 6 * down), layout="constrained")
    axes = figure.subplots(down, columns, squeeze=False).flatten()
    for panel, ((runtime, threads), points) in zip(axes, panels.items(), strict=False):
        draw_points(panel, points)
        panel.set_title(f"{runtime}, {threads} thread{'s' if threads > 1 else ''}, batch 1")
        panel.set_ylabel("ImageNet-1k top-1 (%), as the original's README says")
        logarithmic(panel)
    for panel in axes[len(panels) :]:
        panel.remove()
    figure.draw_without_rendering()  # names avoid each other where they will stand
    for panel, points in zip(axes, panels.values(), strict=False):
        write_names(panel, points)
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return True


def colour(model: str) -> str:
    """DoTCoM apart from its peers."""
    return OURS if model.lower().startswith("dotcom") else PEERS


def logarithmic(axes: Axes) -> None:
    """A scale of times from left to right, with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("p50 latency on this machine (ms)")
    axes.grid(alpha=0.3)
    axes.margins(0.12)
