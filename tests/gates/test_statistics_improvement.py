"""Claims of improvement: p-values and Holm's procedure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gates.statistics import Scores, compare, holm, improvement_p


def columns(n: int, gained: int, lost: int) -> tuple[Scores, Scores]:
    candidate, reference = np.ones(n), np.ones(n)
    candidate[:lost] = 0
    reference[lost : lost + gained] = 0
    return candidate, reference


@pytest.mark.parametrize(("gained", "lost"), [(9, 2), (1, 0), (5, 5), (0, 4), (30, 12)])
def test_zeros_and_ones_get_the_sign_test_of_scipy(gained: int, lost: int) -> None:
    found = improvement_p(*columns(100, gained, lost), low=0, high=1)
    test = stats.binomtest(gained, gained + lost, alternative="greater")
    assert found == pytest.approx(test.pvalue)


def test_equal_columns_support_no_claim() -> None:
    assert improvement_p(np.ones(50), np.ones(50), low=0, high=1) == 1
    assert improvement_p(np.full(50, 2.5), np.full(50, 2.5), low=0, high=5) == 1


def test_bounded_scores_get_the_alpha_at_which_the_lower_bound_reaches_zero() -> None:
    rng = np.random.default_rng(1)
    reference = rng.uniform(1, 4, 200)
    candidate = np.clip(reference + rng.normal(0.12, 0.8, 200), 0, 5)
    p = improvement_p(candidate, reference, low=0, high=5)
    t = stats.ttest_rel(candidate, reference, alternative="greater").pvalue
    assert t <= p < 2 * t + 0.01
    for alpha, above in ((p * 1.05, True), (p / 1.05, False)):
        c = compare(candidate, reference, low=0, high=5, margin=0, alpha=alpha)
        assert (c.lower > 0) == above


def test_clusters_weaken_a_claim() -> None:
    candidate, reference = columns(400, 40, 15)
    # The gained pairs stand together: 8 clusters of 5.
    alone = improvement_p(candidate, reference, low=0, high=1)
    clustered = improvement_p(candidate, reference, low=0, high=1, clusters=np.arange(400) // 5)
    assert alone < 0.001 < clustered
    single = improvement_p(candidate, reference, low=0, high=1, clusters=np.arange(400))
    assert single == alone


def test_one_cluster_supports_no_claim() -> None:
    candidate, reference = columns(100, 50, 0)
    assert improvement_p(candidate, reference, low=0, high=1, clusters=np.zeros(100)) == 1


def test_no_better_candidates_are_called_better_at_most_alpha() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(600):
        d = rng.choice([-1.0, 0, 0.5, 2.0], size=120, p=[0.3, 0.4, 0.2, 0.1])
        reference = np.full(120, 2.0)
        found.append(improvement_p(reference + d, reference, low=0, high=5) <= 0.05)
    assert np.mean(found) < 0.077  # three standard errors


def test_holm_stops_at_the_first_p_value_that_is_too_large() -> None:
    # 0.005 <= 0.05/4, 0.01 <= 0.05/3, but 0.03 > 0.05/2: it and the larger one fall.
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]


def test_holm_is_sharper_than_bonferroni_and_no_laxer_than_no_correction() -> None:
    p = [0.012, 0.016, 0.02, 0.04]
    assert holm(p, 0.05) == [True, True, True, True]  # 0.0125, 0.0167, 0.025, 0.05
    assert [x <= 0.05 / 4 for x in p] == [True, False, False, False]


def test_a_claim_does_not_hold_because_a_weaker_one_met_its_limit() -> None:
    assert holm([0.03, 0.04], 0.05) == [False, False]


def test_one_claim_needs_no_correction_and_none_gives_none() -> None:
    assert holm([0.05], 0.05) == [True]
    assert holm([], 0.05) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="a p-value lies in"):
        holm([0.01, p], 0.05)


def test_under_holm_any_wrong_claim_is_as_rare_as_alpha() -> None:
    rng = np.random.default_rng(3)
    wrong = np.mean([any(holm(list(rng.random(6)), 0.05)) for _ in range(4000)])
    assert 0.04 < wrong < 0.06
