"""Does a written file compute what the checkpoint's network computes? Run it on real images and see."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dotcom.deploy.agreement import Judge, Outputs
from dotcom.deploy.formats import Runner
from dotcom.deploy.samples import Sample, watched

LEAST = 1e-3  # spread of an output: logits, pixels and probabilities that vary less are one value, and rounding


@dataclass(frozen=True)
class Tolerance:
    """What a file of some precision may differ by.

    Attributes:
        difference: Of any output, relative to the standard deviation of that output over all images.
        agreement: Least share of equal results: classes, pixels' classes, or boxes.
        lost: Of the score, at most, in [0, 1].
        least: Detections that both sides score lower are not compared: rounding reorders them.
    """

    difference: float
    agreement: float
    lost: float
    least: float

    def as_json(self) -> dict[str, float | None]:
        """The limits as JSON takes them, which knows no infinity."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}


TOLERANCES = {
    "float32": Tolerance(difference=1e-3, agreement=0.99, lost=0.005, least=0.0),
    "float16": Tolerance(difference=5e-2, agreement=0.97, lost=0.01, least=0.05),
    "int8": Tolerance(difference=math.inf, agreement=0.8, lost=0.03, least=0.1),
}


@dataclass(frozen=True)
class Fidelity:
    """How far a file is from the published network, in eager PyTorch and float32, on the same images.

    Attributes:
        images: How many.
        difference: The largest of any output, relative to the output's standard deviation over all images; of a file
            that returns detections, between equal ones.
        agreement: Share of equal results in [0, 1]: top-1 classes, classes of pixels (those within 0.1 % of the spread
            of the logits count as equal), or detections of one class with an IoU of 0.9, counted from both sides.
        compared: How many results.
        metric: Of the scores: ``"top-1"``, ``"pixel accuracy"`` or ``"mAP"``, all in [0, 1].
        score: Of the file.
        published: Of the network.
    """

    images: int
    difference: float
    agreement: float
    compared: int
    metric: str
    score: float
    published: float

    def line(self) -> str:
        """For people."""
        return (
            f"difference {self.difference:.1e} of the spread, agreement {self.agreement:.2%}, "
            f"{self.metric} {self.score:.3f} ({self.published:.3f}) on {self.images} images"
        )

    def failures(self, tolerance: Tolerance) -> list[str]:
        """What is beyond the tolerance, a line each; written so that a NaN fails."""
        found = []
        if not self.difference <= tolerance.difference:
            found.append(f"differs by {self.difference:.2g} of the spread; expected {tolerance.difference:g} at most")
        if not self.agreement >= tolerance.agreement:
            found.append(f"agrees in {self.agreement:.2%} of results; expected {tolerance.agreement:.0%} at least")
        if not self.score >= self.published - tolerance.lost:
            found.append(f"has {self.metric} {self.score:.3f} where the network has {self.published:.3f}")
        return found


def compare(judge: Judge, run: Runner, samples: Sequence[Sample], least: float) -> Fidelity:
    """Run a file and the network side by side.

    Args:
        judge: Knows the network and its task.
        run: The file.
        samples: Real images.
        least: See ``Tolerance``.
    """
    expected, found = [], []  # answers
    spread, worst, equal, compared = Spread(), dict[str, float](), 0, 0
    for sample in watched(samples, "checking"):
        mine, theirs = judge.published(sample.image), run(sample.image)
        differences = judge.difference(mine, theirs)
        worst = {name: max(value, worst.get(name, 0.0)) for name, value in differences.items()}
        spread.add({name: mine[name] for name in differences})
        if math.isinf(max(differences.values())):
            return Fidelity(len(samples), math.inf, 0.0, 0, judge.metric, 0.0, 1.0)  # not of this shape, or no numbers
        agreeing, of = judge.agreement(mine, theirs, least)
        equal, compared = equal + agreeing, compared + of
        expected.append(judge.answer(mine))
        found.append(judge.answer(theirs))
    difference = max(value / spread.of(name) for name, value in worst.items())
    agreement = equal / compared if compared else 1.0
    scores = [judge.score(answers, samples) for answers in (found, expected)]
    return Fidelity(len(samples), difference, agreement, compared, judge.metric, *scores)


def scored(judge: Judge, run: Runner, samples: Sequence[Sample]) -> float:
    """The score of a network in any form, alone."""
    return judge.score([judge.answer(run(sample.image)) for sample in samples], samples)


class Spread:
    """The standard deviation of each output over all images, without keeping the outputs."""

    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}

    def add(self, outputs: Outputs) -> None:
        """Count the outputs for one image."""
        for name, value in outputs.items():
            wide = value.astype(np.float64)
            moments = np.array([wide.size, wide.sum(), (wide**2).sum()])
            self.sums[name] = self.sums.get(name, np.zeros(3)) + moments

    def of(self, name: str) -> float:
        """Of one output, ``LEAST`` at least."""
        count, total, squares = self.sums[name]
        return max(math.sqrt(max(0.0, squares / count - (total / count) ** 2)), LEAST)
