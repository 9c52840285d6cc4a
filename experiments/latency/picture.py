"""The README's milliseconds on the phone against ours, one panel per runtime, every row with its name."""

from pathlib import Path

from experiments.latency.page import Study
from experiments.latency.ranks import agreements
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from dotcom.benchmark.labels import Point, draw_points, write_names
from dotcom.benchmark.plot import colour, logarithmic
from dotcom.record import whole


def draw(study: Study, path: Path) -> None:
    """Write a PNG."""
    panels = {name: times for name, times in study.columns.items() if times}
    columns = min(2, len(panels))
    down = -(-len(panels) // columns)
    figure = Figure(figsize=(8 * columns, 6.5 * down), layout="constrained")
    axes = figure.subplots(down, columns, squeeze=False).flatten()
    points = {}
    for panel, (name, times) in zip(axes, panels.items(), strict=False):
        points[name] = [
            Point(times[row.key], row.said.ms, row.said.name, colour(row.key))
            for row in study.rows
            if row.key in times and not row.extra
        ]
        draw_points(panel, points[name])
        rhos = {each.what: each.rho for each in agreements(study.rows, times)}
        said = ", ".join(f"{what} {rhos[what]:.2f}" for what in ("peers", "with DoTCoM at 256") if what in rhos)
        panel.set_title(f"{name}; Spearman's rho: {said}" if said else name)
        panel.set_ylabel("ms on the phone, as the original's README says")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_formatter(NullFormatter())
        logarithmic(panel)
    for panel in axes[len(panels) :]:
        panel.remove()
    figure.draw_without_rendering()  # names avoid each other where they will stand
    for panel, name in zip(axes, panels, strict=False):
        write_names(panel, points[name])
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
