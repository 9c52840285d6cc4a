"""Names beside the points of a plot, none over another."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase

NEAR = 12  # points of text up to which a name needs no thread to its point
PLACES = [  # of a name around its point, in points of text: near before far
    (x * distance, y * distance) for distance in (6, 12, 20, 30) for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
] + [(x * distance, y * distance) for distance in (5, 10, 16, 24) for x in (1, -1) for y in (1, -1)]


@dataclass(frozen=True)
class Point:
    """A named point in the units of the axes."""

    x: float
    y: float
    name: str
    color: str


def draw_points(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the points; name them with ``write_names`` once the scales stand."""
    for point in points:
        axes.plot(point.x, point.y, marker="o", color=point.color, markersize=5)


def write_names(axes: Axes, points: Sequence[Point]) -> None:
    """Put every name at the first place beside its point where it covers no point and no other name.

    Args:
        axes: Drawn once, so that their place in the figure is known.
        points: That stand in them.
    """
    spots = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in spots]
    for point in sorted(points, key=lambda point: -point.y):
        covered: list[tuple[float, int]] = []
        for number, place in enumerate(PLACES):
            text = written(axes, point, place)
            box = text.get_window_extent()
            text.remove()
            covered.append((overlap(box, taken, axes.bbox), number))
            if covered[-1][0] == 0:
                break
        taken.append(written(axes, point, PLACES[min(covered)[1]]).get_window_extent())


def written(axes: Axes, point: Point, place: tuple[float, float]) -> Annotation:
    """A name at a place beside its point, with a thread to it where it is far."""
    (dx, dy), far = place, max(map(abs, place)) > NEAR
    return axes.annotate(
        point.name,
        (point.x, point.y),
        place,
        textcoords="offset points",
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="center" if dy == 0 else "bottom" if dy > 0 else "top",
        fontsize=8,
        color=point.color,
        arrowprops={"arrowstyle": "-", "color": point.color, "alpha": 0.5, "linewidth": 0.6} if far else None,
    )


def overlap(box: Bbox, taken: Sequence[Bbox], inside: BboxBase) -> float:
    """Area of a box that others cover or that is outside, in square pixels."""
    shared = (Bbox.intersection(box, other) for other in taken)
    visible = Bbox.intersection(box, inside)
    out = area(box) - (area(visible) if visible else 0)
    return sum(area(part) for part in shared if part) + out


def area(box: BboxBase) -> float:
    """In square pixels."""
    return float(box.width * box.height)
