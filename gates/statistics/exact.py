"""The exact unconditional test of two paired proportions, and its bounds.

The asymptotic score test lets a candidate that is worse by just the margin through more often than
alpha, up to 7 % at 100 to 600 samples where few pairs are discordant. Here the chance of a score as
large as the one observed is summed over every outcome of the trinomial (gained, lost, neither), and
maximised over the nuisance parameter, the share psi of discordant pairs (Hsueh, Liu and Chen 2001).
The maximum is over a confidence interval of psi alone and its level is added to the p-value (Berger
and Boos 1994), which costs less power than the maximum over all psi.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, gammaln, ndtri

from gates.statistics.comparison import Scores
from gates.statistics.tango import scores, tango_bounds

BOOS = 1 / 500  # the level of the interval of psi, Berger and Boos's beta, as a share of alpha
GRID = 33  # values of psi at which the chance is computed; it is smooth between them
TOLERANCE = 1e-7  # of the bounds; they are rounded to the safe side


@lru_cache(maxsize=65536)
def exact_p(n: int, gained: int, lost: int, delta: float, alpha: float = 0.05) -> float:
    """The one-sided p-value of «the true difference is `delta` or less», in (0, 1].

    By Barnard convexity of the score statistic its largest chance lies at `delta` itself (Sidik
    2003). `alpha` is what the p-value is to be compared with: the interval of psi has the level
    alpha/500, and no p-value is smaller. Some milliseconds for 3,000 samples.
    """
    boos = BOOS * alpha
    observed = float(scores(n, np.array([gained]), np.array([lost]), delta)[0])
    if observed <= 0:
        return 1.0
    psi = _plausible(n, gained + lost, abs(delta), boos)
    p_gained, p_lost = (psi + delta) / 2, (psi - delta) / 2
    losses = _window(n, float(p_lost.min()), float(p_lost.max()))
    least = _least_gained(n, losses, delta, observed)
    reachable = least <= n - losses
    losses, least = losses[reachable], least[reachable]
    if not len(losses):
        return boos
    return min(1.0, float(_chances(n, losses, least, p_gained, p_lost).max()) + boos)


@lru_cache(maxsize=65536)
def exact_bounds(
    n: int, gained: int, lost: int, alpha: float, margin: float
) -> tuple[float, float]:
    """One-sided bounds of the difference by inverting `exact_p`, to within `TOLERANCE`.

    Whether a bound lies above or below -margin is decided by the p-value at -margin itself, so that
    the verdict has the guarantee of the test.
    """
    return (
        _lower(n, gained, lost, alpha, -margin),
        -_lower(n, lost, gained, alpha, margin),
    )


def _lower(n: int, gained: int, lost: int, alpha: float, limit: float) -> float:
    """The lower bound of the difference; above `limit` only where the test there says so."""
    estimate = (gained - lost) / n
    if estimate <= -1:
        return -1.0
    below, above = -1.0, estimate
    if -1 < limit < estimate:
        if exact_p(n, gained, lost, limit, alpha) <= alpha:
            below = limit
        else:
            above = limit

    def excess(delta: float) -> float:
        if delta <= -1:
            return -8.0
        p = min(max(exact_p(n, gained, lost, delta, alpha), 1e-15), 1 - 1e-15)
        return float(ndtri(p)) - float(ndtri(alpha))

    guess = tango_bounds(n, gained, lost, alpha)[0]
    for step in (-0.4, 0.1):
        nearby = guess + step * (estimate - guess)
        if below < nearby < above:
            below, above = (below, nearby) if excess(nearby) > 0 else (nearby, above)
    if excess(above) <= 0:
        return above
    if below == limit and excess(below) >= 0:
        return float(np.nextafter(limit, 1.0))
    root = float(brentq(excess, below, above, xtol=TOLERANCE / 2)) - TOLERANCE
    # Down to a multiple of the tolerance, since the root's last digits depend on the processor; but
    # that may not undo what the test at the limit has shown.
    root = math.floor(root / TOLERANCE) * TOLERANCE
    return max(root, float(np.nextafter(limit, 1.0))) if below >= limit else root


def _plausible(n: int, discordant: int, least: float, level: float) -> Scores:
    """Shares of discordant pairs: a grid over the Clopper-Pearson interval of this level."""
    low = betaincinv(discordant, n - discordant + 1, level / 2) if discordant else 0.0
    high = betaincinv(discordant + 1, n - discordant, 1 - level / 2) if discordant < n else 1.0
    low = max(low, least)
    high = max(high, low)
    # Evenly in the square root of the rarer outcome's share, on which scale its spread is constant.
    roots = np.linspace(np.sqrt(low - least), np.sqrt(high - least), GRID)
    return np.minimum(least + roots**2, 1.0)


def _window(n: int, low: float, high: float) -> Scores:
    """Counts of lost pairs that have any chance worth adding where their share is low to high."""
    first = n * low - 7 * np.sqrt(n * low * (1 - low)) - 15
    last = n * high + 7 * np.sqrt(n * high * (1 - high)) + 15
    return np.arange(max(0, int(first)), min(n, int(last)) + 1, dtype=np.float64)


def _least_gained(n: int, losses: Scores, delta: float, observed: float) -> Scores:
    """For each count of lost pairs the least gained ones that score as much; over n: none does."""
    fails, holds = np.full(len(losses), -1.0), np.full(len(losses), n + 1.0)
    while (holds - fails).max() > 1:
        middle = np.floor((holds + fails) / 2)
        enough = scores(n, middle, losses, delta) >= observed - 1e-9
        fails, holds = np.where(enough, fails, middle), np.where(enough, middle, holds)
    return holds


def _chances(n: int, losses: Scores, least: Scores, p_gained: Scores, p_lost: Scores) -> Scores:
    """For each psi, the chance of an outcome in the region: at least `least` gained pairs."""
    p, q = np.clip(p_lost, 1e-300, 1 - 1e-16)[:, None], p_gained[:, None]
    ways = gammaln(n + 1) - gammaln(losses + 1) - gammaln(n - losses + 1)
    lost = np.exp(ways + losses * np.log(p) + (n - losses) * np.log1p(-p))
    share = np.clip(q / (1 - p), 0.0, 1.0)
    tail = np.ones_like(lost)
    some = np.broadcast_to(least > 0, lost.shape) & (lost > 1e-14)
    a, b = np.broadcast_to(least, lost.shape), np.broadcast_to(n - losses - least + 1, lost.shape)
    tail[some] = betainc(a[some], b[some], np.broadcast_to(share, lost.shape)[some])
    return np.asarray((lost * tail).sum(axis=1))
