"""How many layers must stay float32: the fewest, taken from the worst on, with which the score is good enough."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dotcom.deploy.formats import Array, Runner
from dotcom.deploy.int8.draft import Draft, Quantiser
from dotcom.deploy.int8.layers import Layer
from dotcom.deploy.int8.ranking import Rehearsal, sqnr
from dotcom.errors import UsageError, counted

MOST = 0.5  # of the layers in float32: beyond, what is left of int8 is not worth its file

Judge = Callable[[Runner], float]


def fewest(attempt: Callable[[int], float], floor: float, least: int, most: int) -> int | None:
    """The smallest number of float layers with a score of at least ``floor``; None if there is none up to ``most``.

    Doubles until the score suffices, then halves the interval: more float layers are taken not to harm.

    Args:
        attempt: The score with this many.
        floor: Of the score.
        least: To start from.
        most: To give up beyond.
    """
    if attempt(least) >= floor:
        return least
    low, high = least, least
    while high < most:
        low, high = high, min(max(1, 2 * high), most)
        if attempt(high) >= floor:
            break
    else:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if attempt(middle) >= floor else (middle, high)
    return high


class Search:
    """One format's search for one graph.

    Args:
        quantiser: Of the format.
        rehearsal: Ranks the layers, if it comes to that.
        judge: Scores a network, more being better.
    """

    def __init__(self, quantiser: Quantiser, rehearsal: Rehearsal, judge: Judge) -> None:
        self.quantiser, self.rehearsal, self.judge = quantiser, rehearsal, judge
        self.order: list[Layer] = []
        self.drafts: dict[int, Draft] = {}
        self.scores: dict[int, float] = {}

    def attempt(self, count: int) -> float:
        """The score with the ``count`` worst layers in float32."""
        if count not in self.scores:
            self.drafts[count] = self.quantiser.draft([layer.key for layer in self.kept(count)])
            self.scores[count] = self.judge(self.drafts[count].run)
        return self.scores[count]

    def kept(self, count: int) -> list[Layer]:
        """The ``count`` worst layers; the ranking is made when it is first needed."""
        if count and not self.order:
            self.order = [layer for layer, _ in self.rehearsal.ranked()]
        return self.order[:count]

    def write(self, path: Path, load: Callable[[Path], Runner] | None, floor: float) -> tuple[int, float, Runner]:
        """Write the file with the fewest float layers; returns their number, its score and a runner of it.

        Args:
            path: Of the file.
            load: Opens a file of this format; None if this machine cannot, so that the draft speaks for it.
            floor: Of the score.

        Raises:
            UsageError: If too many layers would have to stay float32.
        """
        most = int(MOST * len(self.rehearsal.layers)) if self.quantiser.selective else 0
        least = 0
        while least <= most and (count := fewest(self.attempt, floor, least, most)) is not None:
            self.drafts[count].save(path)
            run = load(path) if load else self.drafts[count].run
            score = self.judge(run) if load else self.scores[count]
            if score >= floor:
                return count, score, run
            least = count + 1  # the file is a little worse than its draft
        layers = counted(len(self.rehearsal.layers), "layer")
        tried = f"with {max(self.scores)} of {layers} in float32" if most else f"with all {layers} in int8"
        best = max(self.scores.values())
        raise UsageError(
            f"{path.name}: int8 scores {best:.4f} {tried}, where {floor:.4f} is asked for; no file was written. "
            "Export without --int8, or calibrate on other images"
        )


def fidelity(reference: Runner, run: Runner, images: Sequence[Array]) -> float:
    """SQNR of a runner's outputs in dB, the lowest of them; see ``ranking.sqnr``."""
    expected = [reference(image) for image in images]
    found = [run(image) for image in images]
    names = list(expected[0])
    return sqnr([[image[name] for name in names] for image in expected], [[image[n] for n in names] for image in found])


def moved(folder: Path, target: Path) -> None:
    """Put what was written, one file or several of one stem, in its place; the one that names the others comes last."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == target.name):
        place = target.with_name(path.name)
        if place.is_dir():
            shutil.rmtree(place)
        path.replace(place)
