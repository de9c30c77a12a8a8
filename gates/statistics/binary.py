"""Zeros and ones: how much worse may a candidate be, given the pairs that it gained and lost?"""

from __future__ import annotations

import numpy as np

from gates.statistics.comparison import Comparison, Scores, is_binary, need_pairs
from gates.statistics.exact import exact_bounds
from gates.statistics.sizes import needed_samples
from gates.statistics.tango import corrected_bounds, score_variance

# Up to here the exact test, which costs milliseconds; above, the continuity correction of half a
# pair is worth less than 1.5 points of power, and the exact chances would be sums over ever more
# terms. Both keep the chance of a wrong promotion under alpha.
EXACT_LIMIT = 3000


def binary_bounds(
    n: int, gained: int, lost: int, alpha: float, margin: float
) -> tuple[float, float]:
    """One-sided bounds of the difference from the counts alone.

    `gained` pairs are right for the candidate only, `lost` for the reference only, of `n`. The
    method depends on n alone: see `EXACT_LIMIT`.
    """
    if n <= EXACT_LIMIT:
        return exact_bounds(n, gained, lost, alpha, margin)
    return corrected_bounds(n, gained, lost, alpha)


def paired_binary(candidate: Scores, reference: Scores, margin: float, alpha: float) -> Comparison:
    """Compare two columns of zeros and ones, shape (n,), float64, by Tango's score statistic.

    Up to 3,000 samples its exact unconditional distribution, above with a continuity correction:
    the chance of promoting a candidate that is worse by just the margin is at most alpha (exact
    enumeration: docs/statistics.md). The bounds never collapse: with no discordant pair the lower
    one is that of the rule of three. `needed_n` takes the variance at the margin, so it does not
    collapse either. Raises ValueError for no samples, unequal shapes, other values.
    """
    need_pairs(candidate, reference)
    if not (is_binary(candidate, 0, 1) and is_binary(reference, 0, 1)):
        raise ValueError("paired_binary takes scores of 0 and 1 only; use paired_bounded")
    n = len(candidate)
    gained = int(np.count_nonzero(candidate > reference))
    lost = int(np.count_nonzero(candidate < reference))
    difference = (gained - lost) / n
    lower, upper = binary_bounds(n, gained, lost, alpha, margin)
    variance = score_variance(n, gained, lost, -margin)
    exact = n <= EXACT_LIMIT
    return Comparison(
        n=n,
        candidate_mean=float(candidate.mean()),
        reference_mean=float(reference.mean()),
        difference=difference,
        lower=lower,
        upper=upper,
        method="exact unconditional test of Tango's score for paired proportions"
        if exact
        else "Tango 1998, score interval for paired proportions, with continuity correction",
        discordant=gained + lost,
        needed_n=needed_samples(difference, margin, variance, alpha),
    )
