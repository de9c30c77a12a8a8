"""What a golden set can show before it is used."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gates.planning import PlanRow, detectable_margin, equality_power, needed_n, plan_rule
from gates.statistics import exact_p


def plan(n: int = 300, margin: float = 0.05, **more: float | int | None) -> PlanRow:
    return plan_rule("json", "exact", 0, 1, margin, 0.05, n, **more)  # type: ignore[arg-type]


def gate_power(n: int, margin: float, discordance: float) -> float:
    """The gate's own chance to promote an equal candidate, summed over outcomes."""
    p, total = discordance / 2, 0.0
    most = int(n * p + 6 * math.sqrt(n * p) + 6)
    for lost in range(most):
        least = next((g for g in range(most) if exact_p(n, g, lost, -margin) <= 0.05), None)
        if least is not None:
            rest = stats.binom.sf(least - 1, n - lost, p / (1 - p))
            total += stats.binom.pmf(lost, n, p) * rest
    return total


@pytest.mark.parametrize(
    ("n", "margin", "discordance"),
    [(100, 0.05, 0.05), (200, 0.05, 0.12), (300, 0.03, 0.02), (100, 0.03, 0.01), (500, 0.02, 0.05)],
)
def test_the_planned_power_is_within_three_points_of_the_gate_itself(
    n: int, margin: float, discordance: float
) -> None:
    planned = equality_power(n, margin, discordance, 0.05)
    assert planned == pytest.approx(gate_power(n, margin, discordance), abs=0.03)


def test_three_hundred_samples_show_five_points_and_nineteen_hundred_two() -> None:
    assert needed_n(0.05, 0.12, 0.05) == pytest.approx(320, rel=0.05)
    assert needed_n(0.02, 0.12, 0.05) == pytest.approx(1900, rel=0.05)


def test_equal_answers_throughout_still_need_the_rule_of_three() -> None:
    assert needed_n(0.03, 0.0, 0.05) == pytest.approx(99, abs=2)
    assert detectable_margin(300, 0.0, 0.05) == pytest.approx(1 - 0.05 ** (1 / 300), rel=0.01)


def test_the_detectable_margin_is_shown_and_one_a_tenth_smaller_is_not() -> None:
    for n in (100, 400, 3000, 40_000):
        margin = detectable_margin(n, 0.12, 0.05)
        assert equality_power(n, margin, 0.12, 0.05) >= 0.8
        assert equality_power(n, margin * 0.9, 0.12, 0.05) < 0.8


def test_more_samples_and_fewer_differences_show_smaller_margins() -> None:
    by_n = [detectable_margin(n, 0.12, 0.05) for n in (50, 100, 400, 1600, 6400)]
    by_share = [detectable_margin(400, share, 0.05) for share in (0.25, 0.12, 0.05, 0.01)]
    assert by_n == sorted(by_n, reverse=True)
    assert by_share == sorted(by_share, reverse=True)


def test_a_row_says_all_that_the_command_prints() -> None:
    row = plan(400, 0.05)
    assert (row.name, row.n, row.clusters, row.margin) == ("json", 400, None, 0.05)
    assert row.assumption == "12 % of samples differ in exact"
    assert row.ok
    assert row.power > 0.8
    assert row.detectable < 0.05
    assert row.needed_n is not None
    assert row.needed_n < 400


def test_a_margin_that_the_set_cannot_show_is_not_ok_and_says_what_would_do() -> None:
    row = plan(300, 0.02)
    assert not row.ok
    assert row.power < 0.3
    assert row.detectable > 0.04
    assert row.needed_n == needed_n(0.02, 0.12, 0.05)


def test_a_margin_of_nothing_cannot_be_shown_by_any_number() -> None:
    row = plan(1000, 0.0)
    assert (row.ok, row.needed_n) == (False, None)
    assert row.power <= 0.05


def test_clusters_need_more_samples_and_say_what_is_assumed() -> None:
    alone, clustered = plan(1000, 0.05), plan(1000, 0.05, clusters=200)
    assert clustered.detectable > 1.3 * alone.detectable
    assert clustered.needed_n is not None
    assert alone.needed_n is not None
    assert clustered.needed_n > 1.5 * alone.needed_n
    assert clustered.assumption.endswith("samples of a cluster correlate by 0.3")
    assert plan(1000, 0.05, clusters=1000).detectable == alone.detectable


def test_one_cluster_shows_nothing() -> None:
    row = plan(1000, 0.05, clusters=1)
    assert (row.power, row.ok) == (0.0, False)


def test_other_metrics_are_planned_by_their_standard_deviation() -> None:
    row = plan_rule("tone", "rubric", 0, 5, 0.25, 0.05, 400, None, 0.8)
    se = 0.8 / 20
    t = stats.t.ppf(0.95, 399)
    assert row.power == pytest.approx(stats.norm.cdf(0.25 / se - t))
    assert row.detectable == pytest.approx((t + stats.norm.ppf(0.8)) * se, rel=1e-3)
    assert row.assumption == "0.8 standard deviation of differences in rubric"


def test_without_a_spread_other_metrics_assume_a_tenth_of_their_range() -> None:
    row = plan_rule("tone", "rubric", 0, 5, 0.25, 0.05, 400)
    assert row == plan_rule("tone", "rubric", 0, 5, 0.25, 0.05, 400, None, 0.5)


def test_a_wide_range_is_limited_by_what_the_samples_may_not_have_shown() -> None:
    """Ten samples of 0 to 5 that all agree may hide a quarter of total losses."""
    row = plan_rule("tone", "rubric", 0, 5, 0.25, 0.05, 10, None, 0.0)
    assert row.detectable == pytest.approx(5 * (1 - 0.05 ** (1 / 10)), rel=0.01)
    assert row.needed_n == pytest.approx(math.log(0.05) / math.log(0.95), abs=2)


def test_large_sets_are_planned_in_no_time_and_without_a_jump() -> None:
    """The sum over outcomes gives way to the normal law where 1,500 pairs are discordant."""
    below, above = (equality_power(n, 0.01, 0.12, 0.05) for n in (12_490, 12_510))
    assert below == pytest.approx(above, abs=0.01)
    assert np.isfinite(detectable_margin(10_000_000, 0.12, 0.05))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n is 0; a plan needs one sample or more"),
        ({"discordance_or_sd": 1.5}, r"discordance_or_sd is 1.5; it must be in \[0, 1\]"),
        ({"clusters": 400}, r"clusters is 400; it must be in \[1, 300\]"),
        ({"clusters": 0}, "clusters is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(**change)  # type: ignore[arg-type]
