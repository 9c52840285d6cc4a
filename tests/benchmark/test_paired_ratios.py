"""Ratios are paired by round, intervals are quantiles, and what the rounds cannot order is said so."""

import pytest

from dotcom.benchmark.statistics import alike, drift, paired_ratio, percentiles

DRIFTING = [10.0, 11.0, 12.0, 13.0, 14.0, 20.0]  # ms per round on a machine that gets slower


def test_paired_ratio__is_blind_to_what_slows_a_whole_round():
    ratio = paired_ratio([1.5 * time for time in DRIFTING], DRIFTING)
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    assert ratio.told_apart


def test_paired_ratio__has_the_20_and_80_percent_quantiles():
    ratio = paired_ratio([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1])
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((2.0, 3.5, 5.0))


def test_paired_ratio__is_a_median_not_the_ratio_of_medians():
    ratio = paired_ratio([1.0, 4.0, 9.0], [1.0, 2.0, 9.0])
    assert ratio.median == 1.0  # 4 / 2 would be the ratio of medians


@pytest.mark.parametrize(
    ("factors", "apart"),
    [
        ([1.05, 1.04, 1.06, 1.05, 1.03, 1.04], True),
        ([0.95, 0.94, 0.96, 0.95, 0.97, 0.96], True),
        ([1.05, 0.96, 1.03, 0.97, 1.02, 0.99], False),
        ([1.0] * 6, False),
    ],
)
def test_told_apart__needs_an_interval_without_1(factors, apart):
    ours = [factor * time for factor, time in zip(factors, DRIFTING, strict=True)]
    assert paired_ratio(ours, DRIFTING).told_apart is apart


def test_told_apart__is_not_fooled_by_one_wild_round():
    assert paired_ratio([1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 0.1], [1.0] * 8).told_apart


def test_alike__names_the_pairs_that_cannot_be_ordered():
    rounds = {"a": [10, 11, 12, 13], "b": [10.1, 10.9, 12.1, 12.9], "c": [20, 21, 22, 23]}
    ((one, other, ratio),) = alike(rounds)
    assert (one, other) == ("a", "b")
    assert ratio.low < 1 < ratio.high


def test_percentiles__interpolate():
    assert percentiles(range(101)) == pytest.approx((50, 90, 99))
    assert percentiles([1, 2]) == pytest.approx((1.5, 1.9, 1.99))


def test_drift__is_the_largest_distance_from_the_median():
    assert drift([10, 10, 10, 12]) == pytest.approx(0.2)
    assert drift([10, 10, 7, 11]) == pytest.approx(0.3)
