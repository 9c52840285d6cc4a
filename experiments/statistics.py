"""Arms of an ablation against a reference, paired by seed: how large the difference is, and whether seeds explain it.

Two tests, because they assume different things: the paired t test that the differences are normal, the sign-flip test
only that each is as likely to have the other sign. All p are two-sided.

Source: Holm, "A simple sequentially rejective multiple test procedure", 1979. The tests are SciPy's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

EXACT = 16  # pairs up to which all 2^n signs are tried: a quarter of a second
RESAMPLES = 99_999  # random signs beyond
ROUNDING = 2.0**-22  # four float32 roundings of the largest value: metrics are float32, equal sums must count as ties


@dataclass(frozen=True)
class Comparison:
    """One arm minus the reference, paired by seed, in the unit of the metric.

    Args:
        arm: Its name.
        reference: The other's name.
        seeds: Of the pairs.
        unpaired: Seeds that only one of both has; left out.
        difference: Mean of arm - reference.
        low: Lower end of the confidence interval of the paired t test at 1 - level, not corrected for the number of
            rows. None, like ``high`` and ``t_p``, where it is not defined: one pair, or differences that are all equal.
        high: Upper end.
        t_p: Of the paired t test.
        t_holm: The same after Holm's correction over all rows.
        sign_flip_p: Of the sign-flip permutation test.
        sign_flip_holm: The same after Holm's correction over all rows.
        exact: Whether all signs were tried; otherwise ``sign_flip_p`` is a seeded Monte Carlo estimate.
        reachable: Smallest p that so many pairs allow, whatever the values, times the number of rows: the bound of
            Bonferroni, below which Holm's p can only get where other rows are strong.
        underpowered: Whether ``reachable`` is not below the level, so that this row by itself cannot show anything.
    """

    arm: str
    reference: str
    seeds: tuple[int, ...]
    unpaired: tuple[int, ...]
    difference: float
    low: float | None
    high: float | None
    t_p: float | None
    t_holm: float | None
    sign_flip_p: float
    sign_flip_holm: float
    exact: bool
    reachable: float
    underpowered: bool


def compare(scores: Mapping[str, Mapping[int, float]], reference: str, level: float = 0.05) -> list[Comparison]:
    """Every other arm against the reference, in order; Holm's correction is over these rows.

    Args:
        scores: Of each arm the value of each seed; arms without a seed in common with the reference must not occur.
        reference: Name of one of them.
        level: Of the tests; the interval covers with 1 - level.
    """
    rows = [
        compare_pair(name, values, reference, scores[reference], level)
        for name, values in scores.items()
        if name != reference
    ]
    t = holm([1.0 if row.t_p is None else row.t_p for row in rows])  # the family is the same without a t test
    flips = holm([row.sign_flip_p for row in rows])
    return [
        replace(
            row,
            t_holm=None if row.t_p is None else corrected,
            sign_flip_holm=flip,
            reachable=(reachable := min(1.0, len(rows) * row.reachable)),
            underpowered=reachable >= level,
        )
        for row, corrected, flip in zip(rows, t, flips, strict=True)
    ]


def compare_pair(
    arm: str, values: Mapping[int, float], reference: str, control: Mapping[int, float], level: float
) -> Comparison:
    """One row, before any correction."""
    seeds = tuple(sorted(values.keys() & control.keys()))
    ours, theirs = (np.array([scores[seed] for seed in seeds], dtype=float) for scores in (values, control))
    noise = ROUNDING * float(np.abs([ours, theirs]).max())
    low, high, t_p = paired_t(ours, theirs, level, noise)
    flip, exact = sign_flip(ours - theirs, noise)
    return Comparison(
        arm=arm,
        reference=reference,
        seeds=seeds,
        unpaired=tuple(sorted(values.keys() ^ control.keys())),
        difference=float((ours - theirs).mean()),
        low=low,
        high=high,
        t_p=t_p,
        t_holm=t_p,
        sign_flip_p=flip,
        sign_flip_holm=flip,
        exact=exact,
        reachable=smallest_p(len(seeds)),
        underpowered=smallest_p(len(seeds)) >= level,
    )


def paired_t(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], level: float, noise: float
) -> tuple[float | None, float | None, float | None]:
    """Ends of the confidence interval and p; three None where the differences show no spread to judge by."""
    if len(ours) < 2 or np.ptp(ours - theirs) <= noise:
        return None, None, None
    result = stats.ttest_rel(ours, theirs)
    interval = result.confidence_interval(1 - level)
    return float(interval.low), float(interval.high), float(result.pvalue)


def sign_flip(differences: NDArray[np.float64], noise: float = 0.0) -> tuple[float, bool]:
    """Share of the ways to give the differences signs whose mean is as far from zero as theirs.

    Args:
        differences: (n,), one per pair.
        noise: Means that differ by no more count as equal. SciPy's own tolerance is for float64.

    Returns:
        p, and whether all 2^n ways were tried; otherwise a seeded random sample, the observed one included.
    """
    n = len(differences)
    exact = n <= EXACT
    if n == 1:  # SciPy wants two
        return 1.0, True
    result = stats.permutation_test(
        (differences,),
        lambda signed, axis: signed.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**n if exact else RESAMPLES,
        batch=2**14,
        rng=np.random.default_rng(0),
    )
    means = np.abs(result.null_distribution)
    extreme = np.count_nonzero(means >= abs(result.statistic) - noise)
    observed = 0 if exact else 1
    return float((extreme + observed) / (len(means) + observed)), exact


def smallest_p(pairs: int) -> float:
    """The smallest p of a sign-flip test: all differences of one sign."""
    return 2 / 2**pairs if pairs <= EXACT else 1 / (RESAMPLES + 1)


def needed_pairs(rows: int, level: float) -> int | None:
    """Pairs from which a sign-flip test can get below the level in each of so many rows; None where none suffice."""
    return next((pairs for pairs in range(1, EXACT + 2) if rows * smallest_p(pairs) < level), None)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p, in the same order: the smallest times m, the next times m - 1, ..., never falling."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p, dtype=float)[order] * factors), 1.0)
    result = np.empty(len(p))
    result[order] = adjusted
    return [float(value) for value in result]
