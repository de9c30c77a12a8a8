"""What a golden set can show, before any compute is spent.

    plan_rule(rule_name, metric, low, high, margin, alpha, n, clusters=None,
              discordance_or_sd=None) -> PlanRow
    detectable_margin(n, discordance, alpha, power=0.8, clusters=None) -> float
    needed_n(margin, discordance, alpha, power=0.8, cluster_size=1.0) -> int | None
    equality_power(n, margin, discordance, alpha, clusters=None) -> float

A margin can be shown where a candidate that is exactly as good as its reference would be promoted
with probability 0.8. Figures of zeros and ones are sums over the trinomial of pairs for the
corrected score test, which lies within three points of the gate's own chances; those of other
metrics and of clusters take the mean for normal. They are for planning: skewed differences need
more samples than their standard deviation tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import bdtr, gammaln, ndtr, ndtri, stdtrit, xlog1py, xlogy

from gates.statistics import EXACT_LIMIT, POWER
from gates.statistics.sizes import unseen
from gates.statistics.tango import score_variance, scores

# Assumed where nothing was measured.
DISCORDANCE = 0.12  # share of samples that two fine-tunes of one model answer differently
SPREAD = 0.1  # standard deviation of the differences, in widths of the range
CORRELATION = 0.3  # of the differences of two samples of a cluster

MOST = 10_000_000  # samples that are worth naming
# Discordant pairs from which a normal law is close enough, and far cheaper.
MANY = 1500


@dataclass(frozen=True)
class PlanRow:
    """What one rule's golden set can show; margin and detectable are in the metric's units."""

    name: str
    n: int
    clusters: int | None
    margin: float
    detectable: float  # the smallest margin that is shown with probability 0.8
    needed_n: int | None  # samples that show the rule's margin so; None where no number does
    power: float  # the chance to promote a candidate that is exactly as good, in [0, 1]
    assumption: str  # in words, on what the figures rest
    ok: bool  # power is 0.8 or more


def plan_rule(
    rule_name: str,
    metric: str,
    low: float,
    high: float,
    margin: float,
    alpha: float,
    n: int,
    clusters: int | None = None,
    discordance_or_sd: float | None = None,
) -> PlanRow:
    """What `n` samples, in `clusters` of equal size or independent, show for one rule.

    `discordance_or_sd` is, for the range [0, 1], the share of samples that the two variants answer
    differently (or the mean square of their differences), in [0, 1]; for another range the standard
    deviation of the differences, in the metric's units. None assumes 0.12, or a tenth of the range.
    Clusters are assumed to correlate by 0.3. Raises ValueError for a number out of its range.
    """
    span = high - low
    binary = (low, high) == (0.0, 1.0)
    spread = discordance_or_sd
    if spread is None:
        spread = DISCORDANCE if binary else SPREAD * span
    words = f"{spread:.3g} standard deviation of differences in {metric}"
    if binary:
        words = f"{spread * 100:.3g} % of samples differ in {metric}"
    if clusters is not None and clusters < n:
        words += f"; samples of a cluster correlate by {CORRELATION:g}"
    # In widths of the range, all metrics are alike.
    variance = spread if binary else (spread / span) ** 2
    _need(n >= 1, f"n is {n}; a plan needs one sample or more")
    _need(0 <= variance <= 1, f"discordance_or_sd is {spread:g}; it must be in [0, {span:g}]")
    _need(clusters is None or 1 <= clusters <= n, f"clusters is {clusters}; it must be in [1, {n}]")
    power = _power(n, margin / span, variance, alpha, binary, clusters)
    size = n / clusters if clusters else 1.0
    return PlanRow(
        name=rule_name,
        n=n,
        clusters=clusters,
        margin=margin,
        detectable=span * _detectable(n, variance, alpha, POWER, binary, clusters),
        needed_n=_needed(margin / span, variance, alpha, POWER, binary, size),
        power=power,
        assumption=words,
        ok=power >= POWER,
    )


def detectable_margin(
    n: int, discordance: float, alpha: float, power: float = POWER, clusters: int | None = None
) -> float:
    """The smallest margin that n zeros and ones show with probability `power`; at most 1."""
    return _detectable(n, discordance, alpha, power, True, clusters)


def needed_n(
    margin: float,
    discordance: float,
    alpha: float,
    power: float = POWER,
    cluster_size: float = 1.0,
) -> int | None:
    """The fewest zeros and ones that show `margin` with probability `power`; None above 10 million."""
    return _needed(margin, discordance, alpha, power, True, cluster_size)


def equality_power(
    n: int, margin: float, discordance: float, alpha: float, clusters: int | None = None
) -> float:
    """The chance that n zeros and ones promote a candidate that equals its reference, in [0, 1]."""
    return _power(n, margin, discordance, alpha, True, clusters)


@cache
def _power(
    n: int, margin: float, variance: float, alpha: float, binary: bool, clusters: int | None
) -> float:
    """The chance of promotion at equality, all in widths of the range."""
    if margin <= 0:
        # What is exactly as good beats a margin of 0 as seldom as the test errs.
        return alpha if margin == 0 and variance > 0 else 0.0
    if clusters is not None and clusters < n:
        effect = 1.0 + (n / clusters - 1.0) * CORRELATION
        return _normal_power(clusters, margin, math.sqrt(variance * effect / n), alpha)
    if not binary:
        return _normal_power(n, margin, math.sqrt(variance / n), alpha)
    if n * variance > MANY:
        p = variance / 2
        bound = float(ndtri(1 - alpha)) * math.sqrt(n * score_variance(n, n * p, n * p, -margin))
        return float(ndtr((n * margin - _correction(n) - bound) / math.sqrt(n * variance)))
    return _binary_power(n, margin, variance, alpha)


def _binary_power(n: int, margin: float, discordance: float, alpha: float) -> float:
    """The chance under the trinomial that the corrected score is over its quantile."""
    p = discordance / 2
    most = min(n, int(n * p + 7 * math.sqrt(n * p * (1 - p)) + 12))
    lost = np.arange(most + 1, dtype=np.float64)
    ways = gammaln(n + 1) - gammaln(lost + 1) - gammaln(n - lost + 1)
    chance = np.exp(ways + xlogy(lost, p) + xlog1py(n - lost, -p))
    gained = np.arange(most + 1, dtype=np.float64)[:, None]
    # The correction moves the statistic's numerator alone; as lost pairs it moves both.
    high = scores(n, gained, lost + _correction(n), -margin) > float(ndtri(1 - alpha))
    high[0, 0] = unseen(n, alpha) < margin
    high &= gained + lost <= n
    least = np.where(high.any(axis=0), high.argmax(axis=0), n + 1)
    share = p / (1 - p)
    tail = np.where(least == 0, 1.0, 1.0 - bdtr(np.maximum(least - 1, 0), n - lost, share))
    return float(np.clip((chance * np.where(least > n - lost, 0.0, tail)).sum(), 0.0, 1.0))


def _normal_power(units: int, margin: float, error: float, alpha: float) -> float:
    """The chance that t and the rule of three both hold, for a mean of 0 and its standard error."""
    if units < 2:
        return 0.0
    share = unseen(units, alpha)
    reach = (margin - share) / (1 - share)
    if error <= 0:
        return float(reach > 0)
    t = float(stdtrit(units - 1, 1 - alpha))
    return float(ndtr(min(margin / error - t, reach / error)))


def _correction(n: int) -> float:
    """What the gate's test costs against the plain score, in pairs; 0.1 meets the exact one on average."""
    return 0.1 if n <= EXACT_LIMIT else 0.5


def _detectable(
    n: int, variance: float, alpha: float, power: float, binary: bool, clusters: int | None
) -> float:
    below, above = 0.0, 1.0
    while above - below > 1e-4 * above:
        middle = (below + above) / 2
        enough = _power(n, middle, variance, alpha, binary, clusters) >= power
        below, above = (below, middle) if enough else (middle, above)
    return above


def _needed(
    margin: float, variance: float, alpha: float, power: float, binary: bool, size: float
) -> int | None:
    """By doubling and halving; chances of counts rise in teeth, so the answer is one of a few."""

    def enough(n: int) -> bool:
        clusters = max(1, round(n / size)) if size > 1 else None
        return _power(n, margin, variance, alpha, binary, clusters) >= power

    below, above = 0, max(2, math.ceil(size))
    while not enough(above):
        below, above = above, 2 * above
        if margin <= 0 or above > MOST:
            return None
    while above - below > max(1, above // 200):
        middle = (below + above) // 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return above


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
