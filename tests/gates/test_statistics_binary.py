"""The exact test of paired proportions: enumerated another way, its size, its bounds."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy import stats

from gates.statistics import binary_bounds, corrected_bounds, exact_bounds, exact_p, tango_bounds


def score(n: int, gained: int, lost: int, delta: float) -> float:
    """Tango's statistic, its nuisance by searching the likelihood rather than by the quadratic."""

    def likelihood(q: float) -> float:
        p = q + delta
        rest = 1 - p - q
        if min(p, q, rest) < -1e-12 or any(
            count and share <= 0
            for count, share in ((gained, p), (lost, q), (n - gained - lost, rest))
        ):
            return -math.inf
        return sum(
            count * math.log(share)
            for count, share in ((gained, p), (lost, q), (n - gained - lost, rest))
            if count
        )

    low, high = max(0.0, -delta), (1 - delta) / 2
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (a, high) if likelihood(a) < likelihood(b) else (low, b)
    variance = 2 * (low + high) / 2 + delta * (1 - delta)
    return (gained - lost - n * delta) / math.sqrt(n * variance)


def slow_p(n: int, gained: int, lost: int, delta: float) -> float:
    """The same p-value from every outcome of the trinomial and 400 values of the nuisance."""
    observed = score(n, gained, lost, delta)
    outcomes = [
        (g, s)
        for g in range(n + 1)
        for s in range(n + 1 - g)
        if score(n, g, s, delta) >= observed - 1e-6
    ]
    level, s = 0.05 / 500, gained + lost
    low = stats.beta.ppf(level / 2, s, n - s + 1) if s else 0.0
    high = stats.beta.ppf(1 - level / 2, s + 1, n - s) if s < n else 1.0
    best = 0.0
    for psi in np.linspace(max(low, abs(delta)), max(high, abs(delta)), 400):
        shares = [(psi + delta) / 2, (psi - delta) / 2, 1 - psi]
        trinomial = stats.multinomial(n, np.clip(shares, 0, 1))
        best = max(best, sum(trinomial.pmf([g, s, n - g - s]) for g, s in outcomes))
    return best + level


@pytest.mark.parametrize(
    ("n", "gained", "lost", "delta"),
    [(8, 0, 0, -0.3), (8, 2, 1, -0.2), (12, 1, 0, -0.1), (10, 5, 1, 0.0), (9, 6, 0, 0.2)],
)
def test_the_p_value_agrees_with_a_sum_over_every_outcome(
    n: int, gained: int, lost: int, delta: float
) -> None:
    assert exact_p(n, gained, lost, delta) == pytest.approx(
        slow_p(n, gained, lost, delta), abs=2e-4
    )


@cache
def region(n: int, margin: float) -> frozenset[tuple[int, int]]:
    """The outcomes (gained, lost) that promote."""
    return frozenset(
        (g, s)
        for s in range(n + 1)
        for g in range(max(0, math.ceil(s - margin * n)), n + 1 - s)
        if exact_p(n, g, s, -margin) <= 0.05
    )


def chance(n: int, margin: float, p_gained: float, p_lost: float) -> float:
    total = 0.0
    for lost in {s for _, s in region(n, margin)}:
        some = [g for g, s in region(n, margin) if s == lost]
        share = min(1.0, p_gained / (1 - p_lost)) if p_lost < 1 else 0.0
        given = stats.binom.pmf(some, n - lost, share).sum()
        total += stats.binom.pmf(lost, n, p_lost) * given
    return float(total)


@pytest.mark.parametrize(("n", "margin"), [(20, 0.2), (40, 0.1), (50, 0.05)])
def test_a_candidate_that_is_worse_by_the_margin_or_more_is_promoted_at_most_alpha(
    n: int, margin: float
) -> None:
    """Over every share of discordant pairs, and every greater loss, not only the one at the margin."""
    for loss in (margin, margin + 0.02, 2 * margin):
        for p_gained in np.linspace(0, (1 - loss) / 2, 60):
            assert chance(n, margin, p_gained, p_gained + loss) <= 0.05


@pytest.mark.parametrize(("n", "margin"), [(40, 0.1), (50, 0.05)])
def test_a_candidate_that_is_just_within_the_margin_is_rejected_at_most_alpha(
    n: int, margin: float
) -> None:
    rejected = [
        (g, s)
        for s in range(n + 1)
        for g in range(min(n + 1 - s, math.ceil(s - margin * n) + 1))
        if exact_p(n, s, g, margin) <= 0.05
    ]
    counts = np.array([(g, s, n - g - s) for g, s in rejected])
    for p_gained in np.linspace(0, (1 - margin) / 2, 40):
        shares = [p_gained, p_gained + margin, 1 - 2 * p_gained - margin]
        assert stats.multinomial(n, np.clip(shares, 0, 1)).pmf(counts).sum() <= 0.05


def test_a_further_gain_or_a_loss_less_never_turns_a_promotion_down() -> None:
    found = region(50, 0.05)
    for gained, lost in found:
        assert gained + lost == 50 or (gained + 1, lost) in found
        assert not lost or (gained, lost - 1) in found


def test_the_plain_score_interval_would_promote_more_often_than_alpha() -> None:
    """The reason for the exact test: with nothing gained, lost pairs are binomial."""

    def rate(bound: object, n: int, margin: float) -> float:
        allowed = -1
        while bound(n, 0, allowed + 1) > -margin:  # type: ignore[operator]
            allowed += 1
        return float(stats.binom.cdf(allowed, n, margin))

    plain = rate(lambda n, g, s: tango_bounds(n, g, s, 0.05)[0], 200, 0.03)
    exact = rate(lambda n, g, s: exact_bounds(n, g, s, 0.05, 0.03)[0], 200, 0.03)
    assert plain == pytest.approx(0.0593, abs=5e-4)
    assert exact <= 0.05


def test_without_discordant_pairs_the_bound_is_that_of_the_rule_of_three() -> None:
    lower, upper = exact_bounds(300, 0, 0, 0.05, 0.02)
    share = 1 - (0.05 - 1e-4) ** (1 / 300)  # alpha less the level of the interval of psi
    assert lower == pytest.approx(-share, abs=2e-6)
    assert upper == pytest.approx(share, abs=2e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(30, 1, 3), (90, 0, 4), (200, 9, 14), (12, 12, 0)]
)
def test_the_bounds_invert_the_test(n: int, gained: int, lost: int, alpha: float) -> None:
    lower, upper = exact_bounds(n, gained, lost, alpha, 0.05)
    assert exact_p(n, gained, lost, lower - 1e-6, alpha) <= alpha
    assert exact_p(n, gained, lost, lower + 1e-4, alpha) > alpha
    if upper < 1:
        assert exact_p(n, lost, gained, -upper - 1e-6, alpha) <= alpha
        assert exact_p(n, lost, gained, -upper + 1e-4, alpha) > alpha


def test_the_verdict_of_the_bounds_is_that_of_the_test_at_the_margin() -> None:
    for lost in range(12):
        for gained in range(6):
            lower, upper = exact_bounds(150, gained, lost, 0.05, 0.04)
            assert (lower > -0.04) == (exact_p(150, gained, lost, -0.04) <= 0.05)
            assert (upper < -0.04) == (exact_p(150, lost, gained, 0.04) <= 0.05)


def test_exchanging_candidate_and_reference_mirrors_the_bounds() -> None:
    lower, upper = exact_bounds(120, 4, 13, 0.05, 0.0)
    assert exact_bounds(120, 13, 4, 0.05, 0.0) == pytest.approx((-upper, -lower), abs=1e-6)


def test_all_pairs_lost_or_gained_is_an_edge_and_no_crash() -> None:
    assert exact_bounds(7, 0, 7, 0.05, 0.05)[0] == -1
    assert exact_bounds(7, 7, 0, 0.05, 0.05)[1] == 1
    assert exact_bounds(1, 0, 0, 0.05, 0.05) == pytest.approx((-0.9501, 0.9501), abs=1e-4)


def test_above_the_limit_the_corrected_interval_takes_over_and_is_wider_than_tango() -> None:
    lower, upper = binary_bounds(5000, 100, 120, 0.05, 0.02)
    assert (lower, upper) == corrected_bounds(5000, 100, 120, 0.05)
    plain = tango_bounds(5000, 100, 120, 0.05)
    assert plain[0] - 0.5 / 5000 * 1.2 < lower < plain[0]
    assert plain[1] < upper < plain[1] + 0.5 / 5000 * 1.2


@pytest.mark.parametrize("margin", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("p_gained", [0.0, 0.002, 0.05, 0.3])
def test_the_corrected_interval_promotes_at_most_alpha(margin: float, p_gained: float) -> None:
    """5,000 samples: the exact chance, summed over the counts of lost pairs."""
    n, p_lost = 5000, p_gained + margin
    spread = 6 * math.sqrt(n * p_lost * (1 - p_lost))
    total, gained = 0.0, 0
    for lost in range(max(0, int(n * p_lost - spread)), int(n * p_lost + spread)):
        gained = max(0, gained - 3)
        while corrected_bounds(n, gained, lost, 0.05)[0] <= -margin:
            gained += 1
        share = p_gained / (1 - p_lost)
        total += stats.binom.pmf(lost, n, p_lost) * stats.binom.sf(gained - 1, n - lost, share)
    assert total <= 0.05
