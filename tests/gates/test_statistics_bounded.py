"""Bounds of the mean of bounded scores: their parts, and how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gates.statistics import Scores, mean_bounds
from gates.statistics.bootstrap import KEY, RESAMPLES, quantile, studentised, tail
from gates.statistics.bounded import lower_bound, p_not_above


def skewed(seed: int = 1, n: int = 400) -> Scores:
    rng = np.random.default_rng(seed)
    return np.clip(-rng.exponential(0.12, n) + rng.normal(0, 0.02, n), -1, 1)


def test_the_lower_bound_agrees_with_halls_transformation_written_the_other_way() -> None:
    """The transformed statistic at the bound is the quantile of t (Hall 1992)."""
    d = skewed()
    n, bound = len(d), lower_bound(d, -1, 0.05, effective=len(d))
    centred = d - d.mean()
    # The worst difference counts once more in the third moment.
    third = (np.sum(centred**3) + centred.min() ** 3) / n
    gamma = third / d.std(ddof=1) ** 3
    t = (d.mean() - bound) / (d.std(ddof=1) / math.sqrt(n))
    bent = t + gamma * t**2 / (3 * n**0.5) + gamma**2 * t**3 / (27 * n) + gamma / (6 * n**0.5)
    assert bent == pytest.approx(stats.t.ppf(0.95, n - 1))
    assert bound < d.mean() - stats.t.ppf(0.95, n - 1) * d.std(ddof=1) / math.sqrt(n)


def test_scores_in_steps_get_half_a_step_of_the_mean() -> None:
    rng = np.random.default_rng(4)
    d = rng.integers(-2, 3, 800).astype(float)
    shaken = d + rng.uniform(-1e-7, 1e-7, 800)
    on_grid = lower_bound(d, -5, 0.05, effective=800)
    off_grid = lower_bound(shaken, -5, 0.05, effective=800)
    # Symmetrical scores: t itself, which has no correction for steps, may be the wider one.
    assert off_grid - on_grid == pytest.approx(0.5 / 800, rel=0.2)


@pytest.mark.parametrize("n", [20, 60, 400])
def test_no_bound_is_tighter_than_t_or_than_the_rule_of_three(n: int) -> None:
    share = 1 - 0.05 ** (1 / n)
    for d in (skewed(n=n), -skewed(n=n), np.full(n, 0.25)):
        lower, upper = mean_bounds(d, -1, 1, 0.05)
        half = stats.t.ppf(0.95, n - 1) * d.std(ddof=1) / math.sqrt(n)
        assert lower <= min(d.mean() - half, d.mean() - share * (d.mean() + 1)) + 1e-12
        assert upper >= max(d.mean() + half, d.mean() + share * (1 - d.mean())) - 1e-12


def test_bounds_move_and_stretch_with_the_scores_and_mirror() -> None:
    d = skewed()
    lower, upper = mean_bounds(d, -1, 1, 0.05)
    assert mean_bounds(3 * d + 1, -2, 4, 0.05) == pytest.approx((3 * lower + 1, 3 * upper + 1))
    assert mean_bounds(-d, -1, 1, 0.05) == pytest.approx((-upper, -lower))


def test_the_p_value_is_the_alpha_at_which_the_bound_is_just_there() -> None:
    rare = np.zeros(3000)
    rare[:4] = -1
    for d in (skewed(), -skewed(), np.full(50, 0.3), rare):
        for alpha in (0.002, 0.05, 0.2):
            bound = lower_bound(d, -1, alpha, effective=len(d))
            assert p_not_above(d, -1, bound, effective=len(d)) == pytest.approx(alpha, rel=0.02)


def test_a_mean_below_the_limit_supports_no_claim() -> None:
    assert p_not_above(skewed(), -1, 0.0, effective=400) == 1.0


def test_one_loss_among_thousands_does_not_cost_the_range() -> None:
    d = np.zeros(1000)
    d[0] = -1
    lower, _ = mean_bounds(d, -1, 1, 0.05)
    exact = stats.beta.ppf(0.95, 2, 999)
    assert -1.15 * exact < lower < -0.95 * exact


def test_resamples_are_those_of_a_plain_loop_over_the_raw_bits() -> None:
    values = np.array([0.0, 0.0, -1.0, 0.5, 0.25, -0.25, 0.0])
    raw = np.random.Philox(key=KEY).random_raw(7 * RESAMPLES).tolist()
    slow = []
    for r in range(RESAMPLES):
        drawn = [float(values[(bits >> 32) * 7 >> 32]) for bits in raw[7 * r : 7 * r + 7]]
        error = float(np.std(drawn, ddof=1)) / math.sqrt(7)
        gap = float(np.mean(drawn)) - float(values.mean())
        slow.append(gap / error if error else math.copysign(math.inf, gap))
    found = studentised(values)
    assert np.allclose(found, np.sort(slow))
    assert quantile(found, 0.95) == pytest.approx(np.sort(slow)[949])
    assert tail(found, float(found[-10])) == pytest.approx(11 / 1000)


def test_the_same_scores_get_the_same_bootstrap_every_time() -> None:
    values = skewed(n=80)
    assert (studentised(values) == studentised(values.copy())).all()


def test_a_level_that_the_resamples_do_not_reach_has_no_quantile() -> None:
    assert quantile(studentised(skewed(n=30)), 0.9995) == math.inf


LOSSES = {
    "rubric at the ceiling": (5, [-4.0, -3, -2, -1, 0, 1, 2], [1, 2, 5, 12, 70, 8, 2]),
    "total losses only": (5, [-5.0, 0], [5, 95]),
    "noise and rare total losses": (5, [-5.0, -1, 0, 1], [3, 15, 67, 15]),
    "half points": (1, [-1, -0.5, 0, 0.5], [2, 6, 90, 2]),
    "skewed to losses": (1, -np.exp(np.linspace(-6, 0, 60)), [1] * 60),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [100, 500])
def test_a_candidate_that_is_worse_by_the_margin_is_promoted_at_most_alpha(
    name: str, n: int
) -> None:
    """1,000 simulated releases; three standard errors of a rate of 0.05 are 0.021."""
    span, values, weights = LOSSES[name]
    chances = np.array(weights) / np.sum(weights)
    margin = -float(np.array(values) @ chances)
    draws = np.random.default_rng(8).choice(values, size=(1000, n), p=chances)
    wrong = [lower_bound(d, -span, 0.05, effective=n) > -margin for d in draws]
    assert np.mean(wrong) < 0.071


def test_plain_t_would_not_keep_its_rate_there() -> None:
    draws = np.random.default_rng(8).choice([-5.0, 0], size=(4000, 100), p=[0.05, 0.95])
    t = draws.mean(1) - stats.t.ppf(0.95, 99) * draws.std(1, ddof=1) / 10
    assert np.mean(t > -0.25) > 0.1
