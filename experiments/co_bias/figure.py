"""The picture: a row for each DoT block, with before and after Co-Bias and random biases laid over each other.

Because a bias moves little, each cell has a strip below with what it and the random biases add to the histogram.
"""

from collections.abc import Sequence

import numpy as np
from experiments.co_bias.distributions import Place
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TITLES = {
    ("bias_in", "activation"): "around the first Co-Bias",
    ("bias_in", "normalised"): "after the LayerNorm that follows it",
    ("bias_out", "activation"): "around the second Co-Bias",
    ("bias_out", "normalised"): "after the batch norm that follows it",
}
LEAST = 1e-3  # height of a strip, as a fraction of the histogram: less is flat to the eye


def draw(places: Sequence[Place], title: str) -> Figure:
    """One cell with its strip for each place."""
    blocks = list(dict.fromkeys(place.block for place in places))
    columns = [key for key in TITLES if any((place.site, place.kind) == key for place in places)]
    figure = Figure(figsize=(3.4 * len(columns) + 0.6, 2.9 * len(blocks) + 0.9), layout="constrained")
    cells = figure.subplots(2 * len(blocks), len(columns), squeeze=False, height_ratios=[3, 1] * len(blocks))
    for place in places:
        row, column = 2 * blocks.index(place.block), columns.index((place.site, place.kind))
        cell, strip = cells[row, column], cells[row + 1, column]
        draw_histograms(cell, place)
        draw_differences(strip, place)
        if row == 0:
            cell.set_title(TITLES[place.site, place.kind], fontsize=10)
        if column == 0:
            cell.set_ylabel(f"{place.block}\ndensity", fontsize=9)
            strip.set_ylabel("change", fontsize=9)
    figure.align_ylabels()
    figure.suptitle(title, fontsize=11)
    figure.legend(*cells[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_histograms(cell: Axes, place: Place) -> None:
    """Before as an area, after as a line, the controls as the band between their lowest and highest."""
    before, after, *controls = place.distributions
    cell.stairs(before.density, place.edges, fill=True, color="0.8", label="before Co-Bias")
    cell.stairs(after.density, place.edges, color="tab:blue", linewidth=1.2, zorder=3, label="after Co-Bias")
    band(cell, place, np.zeros(1), f"with random biases of equal size, lowest to highest of {len(controls)}")
    far = place.controls
    text = f"$W_1$  {number(after.distance)}\nrandom  {number(far.mean())} ± {number(far.std(ddof=1), digits=1)}"
    cell.text(0.98, 0.96, text, transform=cell.transAxes, ha="right", va="top", fontsize=8)
    cell.set_ylim(0, 1.1 * max(before.density.max(), after.density.max()))
    dress(cell, place)
    cell.tick_params(labelbottom=False)


def draw_differences(strip: Axes, place: Place) -> None:
    """What was added to the histogram of ``before``."""
    before, after, *controls = (distribution.density for distribution in place.distributions)
    strip.axhline(0, color="0.6", linewidth=0.8)
    strip.stairs(after - before, place.edges, color="tab:blue", linewidth=1.2, zorder=3, baseline=None)
    band(strip, place, before, "")
    largest = max(np.abs(density - before).max() for density in (after, *controls))
    height = 1.1 * max(largest, LEAST * before.max())
    strip.set_ylim(-height, height)
    dress(strip, place)


def band(axes: Axes, place: Place, base: np.ndarray, label: str) -> None:
    """The range of the controls, less ``base``."""
    heights = np.stack([control.density for control in place.distributions[2:]]) - base
    low, high = (np.repeat(bound, 2) for bound in (heights.min(0), heights.max(0)))
    places = np.repeat(place.edges, 2)[1:-1]
    axes.fill_between(places, low, high, color="tab:orange", alpha=0.5, linewidth=0, label=label)


def dress(axes: Axes, place: Place) -> None:
    """Few ticks, no box."""
    axes.set_xlim(place.edges[0], place.edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def number(value: float, digits: int = 2) -> str:
    """The first digits; 0 for what is rounding."""
    return "0" if abs(value) < 1e-9 else f"{value:.{digits}g}"
