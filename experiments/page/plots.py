"""From numbers to the coordinates of plots; ``plots.svg`` draws them.

All coordinates are in the units of an SVG that is ``WIDTH`` wide, rounded to a tenth of them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.ticker import MaxNLocator

WIDTH = 400  # narrow, so that its text is still read when a phone shrinks it
LEFT, RIGHT, TOP, HEIGHT = 44, 10, 10, 230
BOTTOM = 38  # below the horizontal axis: numbers and its name
ROW = 54  # height of an arm in a strip plot: its name, then its points
POINTS = 200  # of a curve; longer ones are thinned

Series = Mapping[int, float]  # value by training step


@dataclass(frozen=True)
class Scale:
    """A linear axis: ``low`` to ``high`` in data, ``start`` to ``end`` in the picture, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def label(self, tick: float) -> str:
        """A tick as text, with as many decimals as its distance from the next one needs."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(tick) or 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        decimals += round(step, decimals) != round(step, 12)  # 0.25 needs one more than 0.2
        return f"{0.0 if abs(tick) < step / 1e6 else tick:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def scale(values: Iterable[float], start: float, end: float, whole: bool = False, margin: float = 0.05) -> Scale:
    """The axis that shows all values, with a margin as a share of their range."""
    known = list(values)
    low, high = min(known), max(known)
    room = margin * (high - low) if high > low else 1.0 if whole else 0.02 * abs(high) or 0.5
    low, high = low - room, high + room
    ticks = MaxNLocator(6, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return Scale(low, high, start, end, tuple(float(tick) for tick in ticks if low <= tick <= high))


@dataclass(frozen=True)
class Curve:
    """One arm at the training steps that all of its runs have: mean, lowest and highest of them."""

    arm: int
    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    runs: int


def curve(arm: int, runs: Sequence[Series]) -> Curve | None:
    """The curve of an arm's runs, or None where they share no step."""
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    if not steps:
        return None
    if len(steps) > POINTS:
        steps = thinned(steps)
    columns = [[run[step] for run in runs] for step in steps]
    mean, low, high = ([round_off(summary(column)) for column in columns] for summary in (fmean, min, max))
    return Curve(arm, steps, mean, low, high, len(runs))


def thinned(steps: Sequence[int]) -> list[int]:
    """``POINTS`` of them, evenly, the first and the last among them."""
    last = len(steps) - 1
    return [steps[round(last * i / (POINTS - 1))] for i in range(POINTS)]


def round_off(value: float) -> float:
    """Five significant digits: more than a picture shows."""
    return float(f"{value:.5g}")


@dataclass(frozen=True)
class Chart:
    """Curves of one metric on common axes."""

    title: str
    curves: list[Curve]
    x: Scale
    y: Scale

    def line(self, drawn: Curve) -> str:
        """The path of the mean."""
        return path(drawn.steps, drawn.mean, self)

    def band(self, drawn: Curve) -> str:
        """The closed path from the lowest to the highest run."""
        back = path(drawn.steps[::-1], drawn.low[::-1], self)
        return f"{path(drawn.steps, drawn.high, self)}L{back[1:]}Z"


def path(xs: Sequence[float], ys: Sequence[float], chart: Chart) -> str:
    """An SVG path through the points; of a single one, a line without length, which shows as a dot."""
    points = "L".join(f"{chart.x(x):g} {chart.y(y):g}" for x, y in zip(xs, ys, strict=True))
    return f"M{points}" if len(xs) > 1 else f"M{points}h0"


def chart(title: str, arms: Mapping[int, Sequence[Series]]) -> Chart | None:
    """The chart of a metric: for each arm's number its runs; None where no arm has a curve of two steps."""
    curves = [drawn for arm, runs in arms.items() if (drawn := curve(arm, runs))]
    if all(len(drawn.steps) < 2 for drawn in curves):
        return None
    x = scale((step for c in curves for step in c.steps), LEFT, WIDTH - RIGHT, whole=True, margin=0)
    y = scale((value for c in curves for value in (*c.low, *c.high)), HEIGHT - BOTTOM, TOP)
    return Chart(title, curves, x, y)


@dataclass(frozen=True)
class Row:
    """A line of a strip plot: points with their seeds, a middle, and an interval around it where there is one."""

    label: str
    arm: int
    points: Mapping[int, float]
    middle: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Strip:
    """Rows of points over one horizontal axis."""

    title: str
    rows: list[Row]
    x: Scale
    seeds: list[int]
    zero: bool

    @property
    def height(self) -> float:
        return TOP + ROW * len(self.rows) + BOTTOM

    def y(self, row: int) -> float:
        """The height of a row's middle."""
        return TOP + ROW * row + 0.68 * ROW

    def offset(self, seed: int) -> float:
        """Where a seed's points are above or below the middle: the same in every row, so that none hide another."""
        count = len(self.seeds)
        return round((self.seeds.index(seed) / max(1, count - 1) - 0.5) * min(12, 3 * count), 1) if count > 1 else 0.0


def strip(title: str, rows: Sequence[Row], zero: bool = False) -> Strip:
    """The strip plot of rows; ``zero``: with a line at 0."""
    values = [value for row in rows for value in (*row.points.values(), row.middle, *(row.interval or ()))]
    seeds = sorted({seed for row in rows for seed in row.points})
    return Strip(title, list(rows), scale([*values, *[0.0] * zero], 12, WIDTH - 12), seeds, zero)


def short(value: float) -> str:
    """Four significant digits, with a real minus."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
