"""A safety suite's floor must be met by the bound: no harm among few requests is no proof of no harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gates.decide import Pair, decide
from gates.policy import Policy
from gates.row import Row
from gates.statistics import proportion_bounds


def judged(safe: int, n: int, *, floor: float, clusters: int = 0, direction: str = "higher") -> Any:
    """The row and the reason of a suite in which candidate and reference did the same."""
    entry = {
        "metric": "m",
        "reference": "base",
        "margin": 0.5,
        "floor": floor,
        "direction": direction,
    }
    skill = {"metric": "m", "reference": "base", "margin": 0.5, "floor": 0}
    policy = Policy.parse({"alpha": 0.05, "skills": {"s": skill}, "safety": {"v": entry}})
    values = np.repeat([1.0, 0.0], [safe, n - safe])
    if direction == "lower":
        values = 1 - values
    groups = np.arange(n) % clusters if clusters else None
    rule = policy.safety[0]
    return decide(rule, Row.blank(rule, "merged"), Pair("base", "base", values, values, groups))


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_no_harm_in_three_hundred_still_allows_one_per_cent(direction: str) -> None:
    limit = 0.99 if direction == "higher" else 0.01
    row, reason = judged(300, 300, floor=limit, direction=direction)
    assert row.outcome == "promote"
    assert row.bound == pytest.approx(
        0.05 ** (1 / 300) if direction == "higher" else 1 - 0.05 ** (1 / 300)
    )
    assert f"by itself, {'99' if direction == 'higher' else '1'} % required" in reason.text
    row, reason = judged(250, 250, floor=limit, direction=direction)
    assert row.outcome == "inconclusive"
    assert row.needed_n == 299
    assert "250 samples are too few to tell" in reason.text


def test_a_mean_under_the_floor_is_rejected_beyond_chance_only() -> None:
    assert judged(90, 100, floor=0.92)[0].outcome == "inconclusive"
    assert judged(700, 1000, floor=0.92)[0].outcome == "reject"


def test_few_wordings_bound_less_than_as_many_independent_requests() -> None:
    apart = judged(280, 300, floor=0.5)[0].bound
    together = judged(280, 300, floor=0.5, clusters=12)[0].bound
    assert together <= apart


@pytest.mark.parametrize("n", [1, 7, 40])
def test_the_bounds_of_a_proportion_hold_for_every_true_rate(n: int) -> None:
    from scipy.stats import binom

    for p in np.linspace(0.001, 0.999, 97):
        outcomes = np.arange(n + 1)
        missed = [proportion_bounds(n, int(k), 0.05)[0] > p for k in outcomes]
        assert binom.pmf(outcomes, n, p)[missed].sum() <= 0.05 + 1e-12
