"""The numbers are SciPy's and the textbooks'; on data without an effect both tests are wrong as often as they say."""

from itertools import product

import numpy as np
import pytest
from experiments.statistics import compare, holm, needed_pairs, paired_t, sign_flip, smallest_p
from scipy import stats

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]  # hours gained by ten patients (Student, 1908)
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]  # eighths of an inch, by pair (Darwin, 1876)


def paired(differences, reference=0.8) -> dict[str, dict[int, float]]:
    """Scores of an arm ``new`` and of the reference ``old``."""
    return {"old": dict.fromkeys(range(len(differences)), reference)} | {
        "new": {seed: reference + difference for seed, difference in enumerate(differences)}
    }


def test_paired_t__is_that_of_students_own_example():
    low, high, p = paired_t(np.array(SLEEP), np.zeros(10), 0.05, 0.0)
    assert (low, high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert p == pytest.approx(0.002832890, abs=1e-9)


def test_compare__has_scipys_numbers():
    rng = np.random.default_rng(1)
    for n in (2, 5, 9, 12):
        ours, theirs = rng.normal(0.82, 0.01, n), rng.normal(0.81, 0.01, n)
        (row,) = compare({"old": dict(enumerate(theirs)), "new": dict(enumerate(ours))}, "old", level=0.1)
        t = stats.ttest_rel(ours, theirs)
        interval = t.confidence_interval(0.9)
        flips = stats.permutation_test(
            (ours, theirs), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
        )
        expected = (t.pvalue, interval.low, interval.high, flips.pvalue, (ours - theirs).mean())
        assert (row.t_p, row.low, row.high, row.sign_flip_p, row.difference) == pytest.approx(expected, abs=1e-9)


def test_sign_flip__is_fishers_own_example():
    assert sign_flip(np.array(MAIZE, dtype=float)) == (pytest.approx(1726 / 2**15, abs=1e-12), True)


def test_sign_flip__counts_every_way_to_give_signs():
    differences = np.random.default_rng(2).normal(0.3, 1, 7)
    ways = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=7)]
    share = np.mean([way >= abs(differences.sum()) - 1e-12 for way in ways])
    assert sign_flip(differences) == (pytest.approx(share, abs=1e-12), True)


def test_sign_flip__counts_ties_of_float32_metrics():
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(100):
        correct, better = rng.integers(790, 860, 8), rng.integers(-15, 16, 8)  # of 1,000 images
        exact, _ = sign_flip(better.astype(float))  # sums of whole numbers are exact
        theirs, ours = (np.float32(count / 1000).astype(float) for count in (correct, correct + better))
        (row,) = compare({"old": dict(enumerate(theirs)), "new": dict(enumerate(ours))}, "old")
        assert row.sign_flip_p == exact
        broken += sign_flip(ours - theirs)[0] != exact
    assert broken > 30  # without the tolerance p is too small in half of such studies


def test_sign_flip__is_a_repeatable_estimate_for_many_pairs():
    differences = np.random.default_rng(3).normal(0.3, 1, 20)
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    true = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12)
    p, exact = sign_flip(differences)
    assert not exact
    assert p == pytest.approx(true, abs=0.003)  # four standard errors
    assert sign_flip(differences) == (p, False)


def test_holm__is_that_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_compare__corrects_over_its_rows():
    rng = np.random.default_rng(4)
    scores = {name: dict(enumerate(rng.normal(mean, 1, 8))) for name, mean in (("a", 0), ("b", 1), ("c", 2), ("d", 0))}
    rows = compare(scores, "a")
    assert [row.t_holm for row in rows] == holm([row.t_p for row in rows])
    assert [row.sign_flip_holm for row in rows] == holm([row.sign_flip_p for row in rows])
    assert any(row.sign_flip_holm > row.sign_flip_p for row in rows)


def test_compare__corrects_over_rows_without_a_t_test_too():
    theirs = dict(enumerate(np.random.default_rng(4).normal(0.8, 0.01, 8)))
    ours = {seed: value + 0.002 + 0.001 * seed for seed, value in theirs.items()}
    equal = {seed: value + 0.01 for seed, value in theirs.items()}  # no spread, so no t test
    new, none = compare({"old": theirs, "new": ours, "equal": equal}, "old")
    assert none.t_p is none.t_holm is None
    assert new.t_holm == pytest.approx(2 * new.t_p)


@pytest.mark.parametrize(("pairs", "weak"), [(1, True), (5, True), (6, False), (7, False)])
def test_underpowered__where_no_outcome_reaches_the_level(pairs, weak):
    (row,) = compare(paired(np.linspace(0.01, 0.02, pairs)), "old")
    assert row.underpowered is weak
    assert row.reachable == row.sign_flip_p == 2 / 2**pairs  # all of one sign: nothing is smaller


def test_underpowered__knows_the_correction():
    gains = np.linspace(0.01, 0.02, 7)
    arms = {f"new{number}": paired(gains)["new"] for number in range(4)}
    rows = compare(paired(gains) | arms, "old")  # five rows
    assert {row.reachable for row in rows} == {5 * 2 / 2**7}
    assert all(row.underpowered and row.sign_flip_p < 0.05 for row in rows)
    assert needed_pairs(5, 0.05) == 8
    assert 5 * smallest_p(8) < 0.05 < 5 * smallest_p(7)


def test_underpowered__judges_a_row_by_its_own_pairs():
    few, many = ({seed: 0.8 + 0.01 * (seed + 1) for seed in range(pairs)} for pairs in (6, 12))
    weak, strong = compare({"old": dict.fromkeys(range(12), 0.8), "few": few, "many": many}, "old")
    assert (weak.reachable, weak.underpowered) == (2 * 2 / 2**6, True)
    assert (strong.reachable, strong.underpowered) == (2 * 2 / 2**12, False)


def test_underpowered__at_the_level_exactly():
    (row,) = compare(paired(np.linspace(0.01, 0.02, 6)), "old", level=2 / 2**6)
    assert (row.sign_flip_p, row.underpowered) == (2 / 2**6, True)  # shown is what is below the level
    assert needed_pairs(1, 2 / 2**6) == 7


def test_needed_pairs__are_none_below_what_random_signs_resolve():
    assert needed_pairs(1, 2e-5) == 17
    assert needed_pairs(1, 1e-5) is None
    assert needed_pairs(3, 2e-5) is None


def test_compare__pairs_the_common_seeds_and_names_the_rest():
    scores = {"old": {0: 0.80, 1: 0.81, 2: 0.90, 5: 0.99}, "new": {5: 0.99, 1: 0.82, 0: 0.82, 7: 0.10}}
    (row,) = compare(scores, "old")
    assert row.seeds == (0, 1, 5)
    assert row.unpaired == (2, 7)
    assert row.difference == pytest.approx(0.01, abs=1e-12)


@pytest.mark.parametrize(("gain", "p"), [(0.01, 2 / 2**8), (0.0, 1.0)])
def test_compare__has_no_interval_for_differences_without_spread(gain, p):
    theirs = np.random.default_rng(5).normal(0.8, 0.01, 8)
    (row,) = compare({"old": dict(enumerate(theirs)), "new": dict(enumerate(theirs + gain))}, "old")
    assert (row.low, row.high, row.t_p, row.t_holm) == (None, None, None, None)
    assert row.sign_flip_p == p


def test_compare__says_nothing_from_one_pair():
    (row,) = compare(paired([0.2]), "old")
    assert (row.difference, row.low, row.t_p, row.sign_flip_p) == (pytest.approx(0.2), None, None, 1.0)


def test_tests_and_interval__are_wrong_as_often_as_they_say():
    rng = np.random.default_rng(6)
    seeds = rng.normal(0.8, 0.02, (2000, 1, 8))  # what both arms of a pair share
    ours, theirs = np.moveaxis(seeds + rng.normal(0, 0.005, (2000, 2, 8)), 1, 0)
    rows = [
        compare({"old": dict(enumerate(b)), "new": dict(enumerate(a))}, "old")[0]
        for a, b in zip(ours, theirs, strict=True)
    ]
    t, flips, covered = (
        np.mean([test(row) for row in rows])
        for test in (
            lambda row: row.t_p <= 0.05,
            lambda row: row.sign_flip_p <= 0.05,
            lambda row: row.low <= 0 <= row.high,
        )
    )
    assert t == pytest.approx(0.05, abs=0.02)
    assert flips == pytest.approx(0.05, abs=0.02)  # 12 / 256 at best
    assert covered == pytest.approx(0.95, abs=0.02)


def test_holm__keeps_the_family_at_the_level():
    rng = np.random.default_rng(7)
    wrong = 0
    for scores in rng.normal(0.8, 0.01, (400, 4, 9)):
        rows = compare({str(arm): dict(enumerate(values)) for arm, values in enumerate(scores)}, "0")
        wrong += any(row.sign_flip_holm <= 0.05 or row.t_holm <= 0.05 for row in rows)
    assert wrong / 400 < 0.07
