"""Scores in a range: a t interval of the mean, and what guards it where its shape misleads.

The t interval trusts the spread that it sees. Where losses are rare and large, the samples that
show few of them show little spread as well, and t promotes two to seven times as often as alpha
allows (docs/statistics.md). So the widest of up to four bounds wins:

- t itself;
- Hall's transformation of t, which removes the skewness of the mean (Hall 1992), with half a step
  of the mean added where scores lie on a grid of whole or half points. The skewness counts the
  worst difference once more than it was seen, since rare losses are seen too rarely;
- the rule of three: n samples may show none of a share of 1 - alpha^(1/n) of total losses;
- a studentised bootstrap where that skewness is large for the number of samples, up to 2,000 of
  them, and where the resamples have a bound at all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from gates.statistics import bootstrap
from gates.statistics.comparison import Comparison, Scores, need_pairs, need_range
from gates.statistics.sizes import needed_samples, unseen

# Skewness over sqrt(n) from which Hall's expansion is not trusted alone.
VERY_SKEWED = 0.2
# Distinct values up to which scores may lie on a grid.
FEW_VALUES = 256


def paired_bounded(
    candidate: Scores, reference: Scores, margin: float, alpha: float, *, low: float, high: float
) -> Comparison:
    """Compare two columns of scores in [low, high], shape (n,), float64, by their differences.

    The bounds are those of `mean_bounds`. Raises ValueError for no samples, unequal shapes, scores
    out of range.
    """
    need_pairs(candidate, reference)
    need_range(candidate, reference, low, high)
    d = candidate - reference
    span = high - low
    mean, variance = float(d.mean()), _variance(d)
    lower, upper = mean_bounds(d, -span, span, alpha)
    return Comparison(
        n=len(d),
        candidate_mean=float(candidate.mean()),
        reference_mean=float(reference.mean()),
        difference=mean,
        lower=lower,
        upper=upper,
        method="paired t interval, corrected for skewness, no tighter than the rule of three",
        discordant=int(np.count_nonzero(d)),
        needed_n=needed_samples(mean, margin, variance, alpha, span=span),
    )


def mean_bounds(values: Scores, low: float, high: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of the mean of `values`, shape (n,), independent, that lie in [low, high].

    The module's docstring says how they come about. For one value they are the rule of three's.
    """
    lower = lower_bound(values, low, alpha, effective=len(values))
    upper = -lower_bound(-values, -high, alpha, effective=len(values))
    return max(low, lower), min(high, upper)


def lower_bound(
    values: Scores, low: float, alpha: float, *, effective: float, farthest: bool = False
) -> float:
    """The lower bound of the mean of `values`, shape (n,), that are `low` or more.

    `effective` is the number of values that count, n or less where they have unequal weights: it
    gives the degrees of freedom and the rule of three. `farthest` is for the few values that
    clusters are: the one farthest from the mean, on either side, counts once more, as a loss, in
    variance and skewness.
    """
    s = _shape(values, effective, farthest)
    found = s.mean - unseen(effective, alpha) * (s.mean - low)
    if s.error <= 0:
        return found if effective > 1 or len(values) == 1 else low
    t = float(stdtrit(s.freedom, 1.0 - alpha))
    found = min(found, s.mean - t * s.error, s.mean - _hall(t, s.bend) * s.error - s.half_step)
    if s.asks_for_bootstrap:
        quantile = bootstrap.quantile(bootstrap.studentised(values), 1.0 - alpha)
        if math.isfinite(quantile):
            found = min(found, s.mean - quantile * s.error)
    return found


def p_not_above(
    values: Scores, low: float, limit: float, *, effective: float, farthest: bool = False
) -> float:
    """The one-sided p-value of «the mean is `limit` or less»: the alpha of a bound just there.

    The arguments are those of `lower_bound`; the largest of the p-values of its parts.
    """
    s = _shape(values, effective, farthest)
    if s.mean <= limit or (s.error <= 0 and effective <= 1 < len(values)):
        return 1.0
    found = ((limit - low) / (s.mean - low)) ** effective
    if s.error > 0:
        x = (s.mean - limit - s.half_step) / s.error
        bent = x + s.bend * x**2 / 3 + s.bend**2 * x**3 / 27 + s.bend / 6
        plain = (s.mean - limit) / s.error
        found = max(found, float(stdtr(s.freedom, -plain)), float(stdtr(s.freedom, -bent)))
        if s.asks_for_bootstrap:
            found = max(found, bootstrap.tail(bootstrap.studentised(values), plain))
    return min(1.0, found)


class _Shape(NamedTuple):
    """What the bounds of a mean depend on."""

    mean: float
    error: float  # standard error of the mean; 0 where all values are equal or only one counts
    freedom: float  # degrees of freedom
    bend: float  # skewness over the root of the number of values
    half_step: float  # of the mean, where the values lie on a grid
    asks_for_bootstrap: bool


def _shape(values: Scores, effective: float, farthest: bool) -> _Shape:
    n, mean = len(values), float(values.mean())
    d = values - mean
    if n < 2 or effective <= 1:
        return _Shape(mean, 0.0, 0.0, 0.0, 0.0, False)
    worst = -float(np.abs(d).max()) if farthest else float(d.min())
    variance = float(d @ d) / (n - 1) + (worst**2 / n if farthest else 0.0)
    # Equal values differ from their rounded mean by the last bits: that is no spread.
    if math.sqrt(variance) <= 1e-12 * float(np.abs(values).max()):
        return _Shape(mean, 0.0, 0.0, 0.0, 0.0, False)
    bend = (float((d * d) @ d) + worst**3) / (n * variance**1.5) / math.sqrt(n)
    skewed = abs(bend) > VERY_SKEWED and n <= bootstrap.LARGEST
    return _Shape(
        mean, math.sqrt(variance / n), effective - 1, bend, _step(values) / (2 * n), skewed
    )


def _hall(t: float, a: float) -> float:
    """The quantile of the studentised mean whose transformation is t; a is skewness/sqrt(n).

    Hall's monotone transformation x + a·x²/3 + a²·x³/27 + a/6, solved for x.
    """
    if abs(a) < 1e-9:
        return t
    return float(3.0 * (np.cbrt(1.0 + a * (t - a / 6.0)) - 1.0) / a)


def _step(values: Scores) -> float:
    """The step of the grid on which the values lie, or 0 where they lie on none."""
    distinct = np.unique(values[: 4 * FEW_VALUES])
    if len(distinct) > FEW_VALUES:
        return 0.0
    distinct = np.unique(values)
    if not 1 < len(distinct) <= FEW_VALUES:
        return 0.0
    gaps = np.diff(distinct)
    step = float(gaps[gaps > 1e-9 * max(1.0, float(np.abs(distinct).max()))].min(initial=np.inf))
    if not math.isfinite(step):
        return 0.0
    places = (distinct - distinct[0]) / step
    return step if float(np.abs(places - np.round(places)).max()) < 1e-6 else 0.0


def _variance(values: Scores) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
