"""Bounds of paired differences: published figures, independent formulas, edges, exact error rates."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats

from gates import golden
from gates.statistics import (
    EXACT_LIMIT,
    Scores,
    binary_bounds,
    compare,
    exact_p,
    mean_bounds,
    needed_samples,
    paired_binary,
    paired_bounded,
    tango_bounds,
    wilson_bounds,
)

Z = float(stats.norm.ppf(0.95))


def pairs(n: int, gained: int, lost: int, both: int = 0) -> tuple[Scores, Scores]:
    """Zeros and ones: `gained` only the candidate's, `lost` only the reference's, `both` shared."""
    candidate, reference = np.zeros(n), np.zeros(n)
    candidate[:gained] = 1
    reference[gained : gained + lost] = 1
    candidate[gained + lost : gained + lost + both] = 1
    reference[gained + lost : gained + lost + both] = 1
    return candidate, reference


@pytest.mark.parametrize(
    ("n", "gained", "lost", "lower", "upper"),
    [
        # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017),
        # chapter 8, two-sided 95 % intervals: complete response before and after consolidation
        # therapy (Cavo 2012), airway hyper-responsiveness before and after transplantation
        # (Bentur 2009).
        (161, 6, 16, -0.1240, -0.0054),
        (21, 1, 7, -0.517, -0.026),
    ],
)
def test_tango_bounds_agree_with_published_worked_examples(
    n: int, gained: int, lost: int, lower: float, upper: float
) -> None:
    assert tango_bounds(n, gained, lost, alpha=0.025) == pytest.approx((lower, upper), abs=5e-4)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize(
    ("n", "gained", "lost"),
    [(10, 1, 2), (44, 0, 1), (100, 3, 9), (160, 40, 20), (400, 0, 25), (5000, 11, 12), (7, 0, 7)],
)
def test_tango_bounds_solve_the_quartic_of_the_closed_form(
    n: int, gained: int, lost: int, alpha: float
) -> None:
    """Yang, Sun and Hardin 2013: squaring the score equation removes its root and its q."""
    g, net, off = stats.norm.ppf(1 - alpha) ** 2, gained - lost, gained + lost
    quartic = [
        n**2 * (n / g + 1) ** 2,
        -n * net * (n / g + 1) * (4 * n / g + 1),
        2 * n * net**2 * (3 * n / g + 2) / g - n**2 * (off / g + 1),
        n * net * (2 * off / g + 1) - net**3 * (4 * n / g + 1) / g,
        net**2 * (net**2 / g - off) / g,
    ]
    roots = np.roots(quartic)
    real = sorted(roots[abs(roots.imag) < 1e-6].real)
    for bound in tango_bounds(n, gained, lost, alpha):
        assert min(abs(bound - root) for root in real) < 1e-6


def test_without_a_discordant_pair_the_bound_can_be_worked_by_hand() -> None:
    lower, upper = tango_bounds(10, 0, 0, alpha=0.05)
    # n·x = z·sqrt(n·x·(1 - x)) gives x = z²/(n + z²) = 2.7055/12.7055.
    assert (lower, upper) == pytest.approx((-0.21294, 0.21294), abs=1e-5)


def test_exchanging_candidate_and_reference_mirrors_the_bounds() -> None:
    lower, upper = tango_bounds(120, 4, 13, 0.05)
    assert tango_bounds(120, 13, 4, 0.05) == pytest.approx((-upper, -lower), abs=1e-12)


def test_every_pair_lost_is_a_difference_of_minus_one_with_room_above() -> None:
    lower, upper = tango_bounds(12, 0, 12, 0.05)
    assert lower == -1.0
    assert upper == pytest.approx(-(12 - Z**2) / (12 + Z**2))


@pytest.mark.parametrize("n", [1, 2, 10, 1_000_000])
def test_equal_columns_never_make_the_gate_certain(n: int) -> None:
    same = np.ones(n)
    for c in (
        paired_binary(same, same, 0.05, 0.05),
        paired_bounded(same, same, 0.05, 0.05, low=0, high=5),
    ):
        assert c.difference == 0
        assert c.lower < 0 < c.upper


def test_more_samples_narrow_the_bounds() -> None:
    widths = [
        upper - lower
        for n in (20, 200, 2000)
        for lower, upper in [tango_bounds(n, n // 20, n // 10, 0.05)]
    ]
    assert widths == sorted(widths, reverse=True)


def test_a_comparison_reports_both_means_and_the_pairs_that_differ() -> None:
    c = paired_binary(*pairs(100, gained=2, lost=5, both=90), margin=0.05, alpha=0.05)
    assert (c.n, c.discordant) == (100, 7)
    assert (c.candidate_mean, c.reference_mean) == pytest.approx((0.92, 0.95))
    assert c.difference == pytest.approx(-0.03)


def test_bounded_scores_get_the_one_sided_t_test_of_scipy_or_a_wider_bound() -> None:
    rng = np.random.default_rng(3)
    reference = rng.uniform(2, 5, 300)
    candidate = np.clip(reference + rng.normal(-0.1, 0.8, 300), 0, 5)
    c = paired_bounded(candidate, reference, 0.25, 0.05, low=0, high=5)
    above = stats.ttest_1samp(candidate - reference, c.lower, alternative="greater")
    below = stats.ttest_1samp(candidate - reference, c.upper, alternative="less")
    # These differences are a little skewed to losses, so that t itself is kept above alone.
    assert 0.04 < above.pvalue < 0.05
    assert below.pvalue == pytest.approx(0.05)


def test_one_odd_sample_among_equal_ones_leaves_the_rule_of_three() -> None:
    """Standard error 0.00125 would put the bound at -0.0033; 1 % of samples may hide a total loss."""
    d = np.zeros(400)
    d[0] = -0.5
    lower, _ = mean_bounds(d, -5, 5, 0.05)
    share = 1 - 0.05 ** (1 / 400)
    assert lower == pytest.approx(d.mean() - share * (d.mean() + 5))


def test_a_single_bounded_pair_says_next_to_nothing() -> None:
    c = paired_bounded(np.array([4.0]), np.array([4.0]), 0.25, 0.05, low=0, high=5)
    assert (c.lower, c.upper) == pytest.approx((-4.75, 4.75))


def test_wilson_bounds_agree_with_scipy() -> None:
    interval = stats.binomtest(338, 400).proportion_ci(0.90, method="wilson")
    assert wilson_bounds(400, 338, 0.05) == pytest.approx((interval.low, interval.high))


def test_needed_samples_agrees_with_the_figure_known_for_a_margin_of_two_points() -> None:
    assert needed_samples(0.0, 0.02, 0.12, 0.05) == 1855


def test_no_number_of_samples_decides_a_difference_that_equals_the_margin() -> None:
    assert needed_samples(-0.02, 0.02, 0.12, 0.05) is None


def test_an_undecided_comparison_always_needs_more_samples_than_it_had() -> None:
    for lost in range(40):
        c = paired_binary(*pairs(120, 2, lost), margin=0.1, alpha=0.05)
        if c.lower <= -0.1 <= c.upper:
            assert c.needed_n is None or c.needed_n > c.n
    constant = paired_bounded(np.full(9, 4.0), np.full(9, 4.1), 0.25, 0.05, low=0, high=5)
    assert constant.lower < -0.25 < constant.upper
    assert constant.needed_n is not None
    assert constant.needed_n > 9


def test_a_golden_set_of_the_minimum_size_can_show_a_margin_of_three_points() -> None:
    assert binary_bounds(98, 0, 0, 0.05, 0.03)[0] <= -0.03
    assert binary_bounds(99, 0, 0, 0.05, 0.03)[0] > -0.03
    assert golden.MINIMUM >= 99


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [([], []), ([1.0], [1.0, 0.0]), ([0.5], [1.0]), ([math.nan], [1.0]), ([[1.0]], [[1.0]])],
)
def test_columns_that_are_no_pairs_of_zeros_and_ones_are_refused(
    candidate: list[float], reference: list[float]
) -> None:
    with pytest.raises(ValueError, match="paired"):
        paired_binary(np.array(candidate), np.array(reference), 0.05, 0.05)


@pytest.mark.parametrize("score", [-0.1, 5.1, math.nan, math.inf])
def test_scores_out_of_range_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="finite and from 0 to 5"):
        paired_bounded(np.array([score, 1]), np.array([1.0, 1]), 0.1, 0.05, low=0, high=5)


def test_simulated_candidates_are_promoted_by_what_they_are() -> None:
    """1,000 samples, margin 2 points, 12 % of pairs discordant, 2,000 draws, seeded."""
    rng = np.random.default_rng(11)

    def promoted(true: float) -> float:
        gain, loss = 0.06 + true / 2, 0.06 - true / 2
        draws = rng.multinomial(1000, [gain, loss, 1 - gain - loss], size=2000)
        return float(np.mean([exact_p(1000, g, s, -0.02) <= 0.05 for g, s, _ in draws.tolist()]))

    assert promoted(true=-0.02) < 0.065  # worse by the margin: at most 0.05 and three errors
    assert promoted(true=-0.04) < 0.005  # worse by twice that: never
    assert 0.5 < promoted(true=0.0) < 0.65  # as good as the reference: too few samples to be sure


def test_equal_columns_of_any_shape_compare_without_a_warning() -> None:
    for column in (np.full(30, 0.1), np.ones(30), np.linspace(0, 1, 30)):
        with np.errstate(all="raise"):
            c = compare(column, column, low=0, high=1, margin=0.05, alpha=0.05)
        assert c.difference == 0
        assert c.lower < 0 < c.upper


def test_the_method_follows_the_scores() -> None:
    ones, halves = np.ones(50), np.full(50, 0.5)
    clusters = np.arange(50) // 5

    def method(column: Scores, high: float = 1.0, groups: object = None) -> str:
        c = compare(column, column, low=0, high=high, margin=0.1, alpha=0.05, clusters=groups)
        return c.method

    assert "exact" in method(ones)
    assert "continuity" in method(np.ones(EXACT_LIMIT + 1))
    assert "paired t" in method(halves)
    assert "paired t" in method(ones, high=2.0)  # zeros and ones of another range are no shares
    assert method(ones, groups=clusters).startswith("cluster-robust")


def test_a_hundred_thousand_samples_take_a_moment() -> None:
    rng = np.random.default_rng(2)
    a = (rng.random(100_000) < 0.9).astype(float)
    b = np.where(rng.random(100_000) < 0.1, 1 - a, a)
    for columns in ((a, b), (a * 0.7, b * 0.7)):
        start = time.process_time()
        compare(*columns, low=0, high=1, margin=0.02, alpha=0.05, clusters=np.arange(100_000) // 4)
        assert time.process_time() - start < 0.5  # 0.05 s on a quiet machine
