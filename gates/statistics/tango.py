"""The score interval of the difference of two paired proportions, and its kin of one proportion.

`gained` counts pairs that only the candidate got right, `lost` those that only the reference did,
of `n`; `delta` is the true difference, in [-1, 1].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtri

Counts = npt.NDArray[np.float64]

# With fewer concordant pairs the difference moves in steps of two pairs, not of one.
FEW_CONCORDANT = 20


def tango_bounds(
    n: float, gained: float, lost: float, alpha: float, *, correction: float = 0.0
) -> tuple[float, float]:
    """One-sided lower and upper bound of the difference (Tango 1998).

    The bounds are the delta that solve (gained - lost - n·delta ∓ correction) / sqrt(n ·
    variance(delta)) = ±z: the score statistic of a true difference delta, with the nuisance
    parameter at its maximum likelihood given delta. `correction`, in pairs, is a continuity
    correction: 0 is Tango's interval.
    """
    z, estimate = float(ndtri(1.0 - alpha)), (gained - lost) / n

    def excess(delta: float, sign: float) -> float:
        spread = math.sqrt(n * score_variance(n, gained, lost, delta))
        return gained - lost - n * delta - sign * (z * spread + correction)

    # At the estimate itself the variance may be 0, a root that is none of ours: stay beside it.
    beside = 1e-12
    lower, upper = -1.0, 1.0
    if estimate > -1 and excess(-1.0, 1.0) > 0:
        lower = brentq(excess, -1.0, estimate - beside, (1.0,), xtol=1e-13)
    if estimate < 1 and excess(1.0, -1.0) < 0:
        upper = brentq(excess, estimate + beside, 1.0, (-1.0,), xtol=1e-13)
    return float(lower), float(upper)


def corrected_bounds(n: int, gained: int, lost: int, alpha: float) -> tuple[float, float]:
    """Tango's bounds with the continuity correction that keeps a wrong promotion under alpha.

    Half a pair, which is half a step of the difference; one pair where nearly all are discordant.
    Checked by exact enumeration: benchmarks/gate.py and docs/statistics.md.
    """
    correction = 1.0 if n - gained - lost < FEW_CONCORDANT else 0.5
    return tango_bounds(n, gained, lost, alpha, correction=correction)


def score_variance(n: float, gained: float, lost: float, delta: float) -> float:
    """The variance of one pair's difference, 2·q + delta·(1 - delta), were its mean `delta`.

    q, the share of pairs that only the reference gets right, is its maximum likelihood estimate
    given delta: the larger root of 2n·q² + b·q + c = 0.
    """
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1.0 - delta)
    only_reference = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return max(0.0, 2 * only_reference + delta * (1.0 - delta))


def scores(n: int, gained: npt.NDArray[Any], lost: npt.NDArray[Any], delta: float) -> Counts:
    """Tango's statistic for many pairs of counts at once; infinite where the variance is 0."""
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1.0 - delta)
    only_reference = (np.sqrt(np.maximum(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = np.maximum(0.0, 2 * only_reference + delta * (1.0 - delta))
    excess = gained - lost - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        found = excess / np.sqrt(n * variance)
    return np.where(variance > 0, found, np.where(excess > 0, np.inf, -np.inf))


def proportion_bounds(n: int, successes: int, alpha: float) -> tuple[float, float]:
    """One-sided bounds of one proportion that hold for certain at `alpha` (Clopper and Pearson 1934).

    With `n` of `n` successes the lower one is alpha^(1/n): the rule of three.
    """
    lower = float(betaincinv(successes, n - successes + 1, alpha)) if successes else 0.0
    upper = float(betaincinv(successes + 1, n - successes, 1 - alpha)) if successes < n else 1.0
    return lower, upper


def wilson_bounds(n: int, successes: float, alpha: float) -> tuple[float, float]:
    """One-sided bounds of one proportion (Wilson 1927): Tango's for a single variant."""
    z2 = float(ndtri(1.0 - alpha)) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    p = successes / n
    half = math.sqrt(z2 * (n * p * (1 - p) + z2 / 4)) / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)
