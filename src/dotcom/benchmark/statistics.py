"""What can be said of the times of two rows that were measured in turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

ENDS = (0.2, 0.8)  # of the interval: robust against the few rounds in which something else ran
SHOWN = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Ratio:
    """Time of one row over that of another, round by round.

    Args:
        median: Of the ratios of all rounds.
        low: Their 20 % quantile.
        high: Their 80 % quantile.
    """

    median: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether one of both was faster in most rounds: the interval leaves out 1."""
        return not self.low <= 1 <= self.high


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """From one time of each row per round; what slowed a whole round down cancels."""
    ratios = np.asarray(ours, dtype=float) / np.asarray(theirs, dtype=float)
    low, median, high = np.quantile(ratios, (ENDS[0], 0.5, ENDS[1]))
    return Ratio(float(median), float(low), float(high))


def percentiles(times: Sequence[float]) -> tuple[float, float, float]:
    """p50, p90 and p99, linear between neighbours."""
    p50, p90, p99 = np.quantile(np.asarray(times, dtype=float), SHOWN)
    return float(p50), float(p90), float(p99)


def alike(rounds: Mapping[str, Sequence[float]]) -> list[tuple[str, str, Ratio]]:
    """The pairs of rows that these rounds cannot order."""
    pairs = ((one, other, paired_ratio(rounds[one], rounds[other])) for one, other in combinations(rounds, 2))
    return [(one, other, ratio) for one, other, ratio in pairs if not ratio.told_apart]


def drift(fixed: Sequence[float]) -> float:
    """How far the times of the same work go apart: the largest distance from their median, as a fraction of it."""
    median = float(np.median(fixed))
    return max(abs(time - median) for time in fixed) / median
