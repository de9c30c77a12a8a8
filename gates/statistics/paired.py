"""Is a candidate at most `margin` worse than its reference on the same samples?

Both variants answer the same samples, so every bound is of the mean *difference* of pairs,
candidate minus reference, oriented so that more is better. `alpha` is the chance, for each bound by
itself, of lying on the wrong side of the truth. That every skill holds is an intersection-union
claim: each skill at `alpha`, no correction (Berger and Hsu 1996).

Sources
    Tango 1998    Equivalence test and confidence interval for the difference in proportions for
                  the paired-sample design. Statistics in Medicine 17, 891-908.
    Yang 2013     A non-iterative implementation of Tango's score confidence interval for a paired
                  difference of proportions. Statistics in Medicine 32, 1336-1342. Our tests
                  check against its quartic.
    Wilson 1927   Probable inference, the law of succession, and statistical inference.
                  Journal of the American Statistical Association 22, 209-212.
    Hanley 1983   If nothing goes wrong, is everything all right? JAMA 249, 1743-1745: the rule
                  of three.
    Miller 2024   Adding error bars to evals. arXiv 2411.00640: pairing, power.
    Berger 1996   Bioequivalence trials, intersection-union tests and equivalence confidence sets.
                  Statistical Science 11, 283-319.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

Scores = npt.NDArray[np.float64]

POWER = 0.8  # the chance that the sample size we name decides, if what was measured is true


@dataclass(frozen=True)
class Comparison:
    """A candidate against its reference on n samples, in the metric's units."""

    n: int
    candidate_mean: float
    reference_mean: float
    difference: float  # candidate minus reference
    lower: float  # one-sided: the true difference is above it, but for a chance of alpha
    upper: float  # one-sided: the true difference is below it, but for a chance of alpha
    method: str
    discordant: int  # pairs whose two scores differ
    needed_n: int | None  # samples that would decide; None where no number would
    clusters: int | None = None  # groups of dependent samples; None where all are independent


def paired_binary(candidate: Scores, reference: Scores, margin: float, alpha: float) -> Comparison:
    """Compare two columns of zeros and ones, shape (n,), float64, by Tango's score interval.

    The bounds are asymptotic. At alpha 0.05 and 100 samples or more, the exact chance of promoting
    a candidate that is worse by just the margin stays below 0.07, that of rejecting it below 0.10;
    both are largest where pairs are lost and none gained, and close to 0.05 elsewhere. In return
    the bounds never collapse: with no discordant pair they are -z²/(n + z²) and z²/(n + z²).
    `needed_n` takes the variance at the margin, so it does not collapse either.
    Raises ValueError for no samples, unequal shapes, other values.
    """
    _need_pairs(candidate, reference)
    if not (np.isin(candidate, (0.0, 1.0)).all() and np.isin(reference, (0.0, 1.0)).all()):
        raise ValueError("paired_binary takes scores of 0 and 1 only; use paired_bounded")
    n = len(candidate)
    gained = int(np.sum(candidate > reference))
    lost = int(np.sum(candidate < reference))
    difference = (gained - lost) / n
    lower, upper = tango_bounds(n, gained, lost, alpha)
    variance = _tango_variance(n, gained, lost, -margin)
    return Comparison(
        n=n,
        candidate_mean=float(candidate.mean()),
        reference_mean=float(reference.mean()),
        difference=difference,
        lower=lower,
        upper=upper,
        method="Tango 1998, score interval for paired proportions",
        discordant=gained + lost,
        needed_n=needed_samples(difference, margin, variance, alpha),
    )


def paired_bounded(
    candidate: Scores, reference: Scores, margin: float, alpha: float, *, low: float, high: float
) -> Comparison:
    """Compare two columns of scores in [low, high], shape (n,), float64, by a paired t interval.

    The t interval alone is certain of itself when all differences are equal (standard error 0) and
    undefined for n = 1. Therefore no bound may be tighter than the rule of three allows: see
    `_unseen`. With the spread and the sizes of real golden sets the t interval is the wider one and
    the rule changes nothing. Raises ValueError for no samples, unequal shapes, scores out of range.
    """
    _need_pairs(candidate, reference)
    both = np.concatenate((candidate, reference))
    if not (np.isfinite(both).all() and both.min() >= low and both.max() <= high):
        raise ValueError(f"paired_bounded takes finite scores from {low} to {high}")
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
        method="paired t interval, no tighter than the rule of three",
        discordant=int(np.sum(d != 0)),
        needed_n=needed_samples(mean, margin, variance, alpha, span=span),
    )


def tango_bounds(n: int, gained: int, lost: int, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of the difference of two paired proportions (Tango 1998).

    `gained` counts pairs that only the candidate got right, `lost` those that only the reference
    did, of `n`. The bounds are the delta that solve (gained - lost - n·delta) / sqrt(n ·
    variance(delta)) = ±z: the score statistic of a true difference delta, with the nuisance
    parameter at its maximum likelihood given delta.
    """
    z, estimate = float(ndtri(1.0 - alpha)), (gained - lost) / n

    def excess(delta: float, sign: float) -> float:
        spread = math.sqrt(n * _tango_variance(n, gained, lost, delta))
        return gained - lost - n * delta - sign * z * spread

    # At the estimate itself the variance may be 0, a root that is none of ours: stay beside it.
    beside = 1e-12
    lower = -1.0 if estimate == -1 else brentq(excess, -1.0, estimate - beside, (1.0,), xtol=1e-13)
    upper = 1.0 if estimate == 1 else brentq(excess, estimate + beside, 1.0, (-1.0,), xtol=1e-13)
    return float(lower), float(upper)


def wilson_bounds(n: int, successes: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of one proportion (Wilson 1927): Tango's for a single variant."""
    z2 = float(ndtri(1.0 - alpha)) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    p = successes / n
    half = math.sqrt(z2 * (n * p * (1 - p) + z2 / 4)) / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_bounds(values: Scores, low: float, high: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of the mean of `values`, shape (n,), that lie in [low, high].

    A t interval, no tighter than the rule of three.
    """
    n, mean = len(values), float(values.mean())
    unseen = _unseen(n, alpha)
    lower, upper = mean - unseen * (mean - low), mean + unseen * (high - mean)
    if n > 1:
        half = float(stdtrit(n - 1, 1.0 - alpha)) * math.sqrt(_variance(values) / n)
        lower, upper = min(lower, mean - half), max(upper, mean + half)
    return max(low, lower), min(high, upper)


def needed_samples(
    difference: float,
    margin: float,
    variance: float,
    alpha: float,
    *,
    power: float = POWER,
    span: float | None = None,
) -> int | None:
    """How many samples would decide with probability `power`, were the measurements the truth.

    n = (z_alpha + z_power)² · variance / (difference + margin)² (Miller 2024, power analysis), for
    whichever side of -margin the difference lies on. With `span`, the width of the metric's range,
    also as many as the rule of three needs. None where the difference is the margin itself: then no
    number of samples decides.
    """
    distance = abs(difference + margin)
    if distance < 1e-12:
        return None
    z = float(ndtri(1.0 - alpha) + ndtri(power))
    n = math.ceil(z * z * variance / distance**2 - 1e-9)
    if span is not None:
        # The mean moves by unseen · reach; the reach is from the difference to the far end of its
        # range.
        reach = span + difference if difference > -margin else span - difference
        n = max(n, _unseen_needs(distance / reach, alpha))
    return max(n, 1)


def _tango_variance(n: int, gained: int, lost: int, delta: float) -> float:
    """The variance of one pair's difference, 2·q + delta·(1 - delta), were its mean `delta`.

    q, the share of pairs that only the reference gets right, is its maximum likelihood estimate
    given delta: the larger root of 2n·q² + b·q + c = 0.
    """
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1.0 - delta)
    only_reference = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return max(0.0, 2 * only_reference + delta * (1.0 - delta))


def _unseen(n: int, alpha: float) -> float:
    """The largest share of samples of a kind of which n may show none, but for a chance of alpha.

    The exact form of the rule of three: (1 - share)^n = alpha (Hanley 1983).
    """
    return float(-math.expm1(math.log(alpha) / n))


def _unseen_needs(share: float, alpha: float) -> int:
    return 1 if share >= 1 else math.floor(math.log(alpha) / math.log1p(-share)) + 1


def _variance(values: Scores) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _need_pairs(candidate: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
    if candidate.shape != reference.shape or candidate.ndim != 1 or not len(candidate):
        raise ValueError(
            f"paired scores need two columns of equal length, one or more; "
            f"got shapes {candidate.shape} and {reference.shape}"
        )
