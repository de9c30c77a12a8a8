"""Clustered samples: the error by another route, few and unequal clusters, and error rates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gates.statistics import Comparison, Scores, compare
from gates.statistics.bounded import lower_bound
from gates.statistics.clustered import linearised


def judged(d: Scores, clusters: Any, margin: float = 0.05) -> Comparison:
    """Differences of -1, 0, 1 as two columns of zeros and ones."""
    ours, theirs = (d > 0) * 1.0, (d < 0) * 1.0
    return compare(ours, theirs, low=0, high=1, margin=margin, alpha=0.05, clusters=clusters)


def draw(rng: np.random.Generator, sizes: Any, p: Any, correlation: float) -> tuple[Scores, Any]:
    """Gained and lost pairs of each cluster, their chances Dirichlet with this correlation."""
    weights = np.maximum(np.array(p) * (1 - correlation) / correlation, 1e-9)
    chances = rng.dirichlet(weights, size=len(sizes))
    counts = [rng.multinomial(m, c / c.sum()) for m, c in zip(sizes, chances, strict=True)]
    d = np.concatenate([np.repeat([1.0, -1.0, 0.0], c) for c in counts])
    return d, np.repeat(np.arange(len(sizes)), sizes)


def test_the_error_is_that_of_the_sandwich_with_leverage() -> None:
    """Residual outer products of a regression on a constant, cluster by cluster, in plain loops."""
    rng = np.random.default_rng(1)
    sizes = [3, 8, 5, 1, 6, 4, 9, 2]
    d, which = draw(rng, sizes, [0.2, 0.2, 0.6], 0.4)
    n, groups = len(d), len(sizes)
    meat = 0.0
    for g in range(groups):
        residuals = d[which == g] - d.mean()
        hat = np.full((sizes[g], sizes[g]), 1 / n)
        adjusted = np.linalg.solve(np.eye(sizes[g]) - hat, residuals)
        meat += adjusted.sum() ** 2
    sums = np.array([d[which == g].sum() for g in range(groups)])
    values, effective = linearised(sums, np.array(sizes, dtype=float))
    assert effective == pytest.approx(n**2 / sum(m * m for m in sizes))
    assert values.mean() == pytest.approx(d.mean())
    # Ours is centred and has the factor G/(G - 1); the raw sum of squares is the sandwich.
    raw = (sums - d.mean() * np.array(sizes)) / (1 - np.array(sizes) / n)
    assert raw @ raw == pytest.approx(meat)
    centred = raw - raw.mean()
    assert values.var(ddof=1) / groups == pytest.approx(
        groups / (groups - 1) * (centred @ centred) / n**2
    )


def test_each_sample_a_cluster_of_its_own_changes_nothing_but_the_count() -> None:
    rng = np.random.default_rng(2)
    d = rng.choice([-1.0, 0, 1], 200, p=[0.06, 0.9, 0.04])
    alone, single = judged(d, None), judged(d, np.arange(200))
    assert single.clusters == 200
    assert (single.lower, single.upper, single.method) == (alone.lower, alone.upper, alone.method)


def test_one_cluster_says_nothing() -> None:
    c = judged(np.zeros(500), np.zeros(500, dtype=int))
    assert (c.lower, c.upper, c.clusters, c.needed_n) == (-1, 1, 1, None)


def test_answers_repeated_ten_times_are_not_ten_times_the_evidence() -> None:
    """Ten copies of 80 samples, clustered: no tighter than the 80 themselves by t."""
    rng = np.random.default_rng(3)
    d = rng.choice([-1.0, 0, 1], 80, p=[0.15, 0.7, 0.15])
    c = judged(np.repeat(d, 10), np.repeat(np.arange(80), 10))
    half = stats.t.ppf(0.95, 79) * d.std(ddof=1) / math.sqrt(80)
    assert c.n == 800
    assert c.lower <= d.mean() - half
    assert c.upper >= d.mean() + half
    assert judged(np.repeat(d, 10), None).lower > d.mean() - half / 2


def test_numbers_and_order_of_clusters_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    d, which = draw(rng, [5] * 40, [0.1, 0.1, 0.8], 0.5)
    renamed, shuffled = np.array([900 - 7 * g for g in which]), rng.permutation(200)
    first = judged(d, which)
    assert judged(d, renamed).lower == pytest.approx(first.lower, abs=1e-12)
    assert judged(d[shuffled], which[shuffled]).lower == pytest.approx(first.lower, abs=1e-12)


def test_no_clusters_make_a_bound_tighter_than_independent_samples() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        d, which = draw(rng, [4] * 25, [0.1, 0.1, 0.8], 0.02)
        # Alternate signs within a cluster: negative correlation, which would narrow the error.
        alone, clustered = judged(d, None), judged(d, which)
        assert clustered.lower <= alone.lower
        assert clustered.upper >= alone.upper


def test_where_nothing_differs_the_clusters_are_the_evidence() -> None:
    c = judged(np.zeros(1000), np.repeat(np.arange(50), 20))
    assert c.lower == pytest.approx(-(1 - 0.05 ** (1 / 50)))
    assert c.needed_n is not None
    assert c.needed_n >= 1000  # 59 clusters of 20


def test_scores_in_a_range_are_clustered_too() -> None:
    rng = np.random.default_rng(6)
    shared = np.repeat(rng.normal(0, 0.5, 60), 5)
    reference = np.full(300, 2.5)
    candidate = np.clip(reference + shared + rng.normal(0, 0.1, 300), 0, 5)
    which = np.repeat(np.arange(60), 5)
    alone = compare(candidate, reference, low=0, high=5, margin=0.2, alpha=0.05)
    c = compare(candidate, reference, low=0, high=5, margin=0.2, alpha=0.05, clusters=which)
    means = (candidate - reference).reshape(60, 5).mean(axis=1)
    half = stats.t.ppf(0.95, 59) * means.std(ddof=1) / math.sqrt(60)
    share = 1 - 0.05 ** (1 / 60)
    assert c.lower <= min(c.difference - half, c.difference - share * (c.difference + 5)) + 1e-12
    assert c.upper >= c.difference + half
    assert alone.lower > c.difference - half


@pytest.mark.parametrize("clusters", [np.zeros(9, dtype=int), np.zeros((10, 1), dtype=int)])
def test_clusters_of_another_shape_are_refused(clusters: Any) -> None:
    with pytest.raises(ValueError, match="one number for each sample, 10"):
        judged(np.zeros(10), clusters)


UNEVEN = [1, 2, 3, 4, 10] * 25


@pytest.mark.parametrize("sizes", [[5] * 20, [5] * 100, [20] * 25, UNEVEN])
@pytest.mark.parametrize("correlation", [0.1, 0.9])
def test_a_candidate_that_is_worse_by_the_margin_is_promoted_at_most_alpha(
    sizes: list[int], correlation: float
) -> None:
    """800 simulated releases, 30 % discordant; three standard errors of 0.05 are 0.023."""
    rng = np.random.default_rng(7)
    wrong = ignored = 0
    for _ in range(800):
        d, which = draw(rng, sizes, [0.125, 0.175, 0.7], correlation)
        values, effective = linearised(np.bincount(which, d), np.array(sizes, dtype=float))
        held = lower_bound(values, -1, 0.05, effective=effective, farthest=True) > -0.05
        alone = lower_bound(d, -1, 0.05, effective=len(d)) > -0.05
        wrong += held and alone
        ignored += alone
    assert wrong / 800 < 0.073
    if correlation > 0.5:
        assert ignored / 800 > 0.15  # what ignoring the clusters would do
