"""How many samples decide, and how much n samples may not have shown."""

from __future__ import annotations

import math

from scipy.special import ndtri

POWER = 0.8  # the chance that the sample size we name decides, if what was measured is true


def needed_samples(
    difference: float,
    margin: float,
    variance: float,
    alpha: float,
    *,
    power: float = POWER,
    span: float | None = None,
    cluster_size: float = 1.0,
) -> int | None:
    """How many samples would decide with probability `power`, were the measurements the truth.

    n = (z_alpha + z_power)² · variance / (difference + margin)² (Miller 2024, power analysis), for
    whichever side of -margin the difference lies on; `variance` is n times the squared standard
    error, so that it holds the design effect of clusters. With `span`, the width of the metric's
    range, also as many as the rule of three needs, counted in clusters of `cluster_size` samples.
    None where the difference is the margin itself: then no number of samples decides.
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
        n = max(n, math.ceil(cluster_size * _unseen_needs(distance / reach, alpha)))
    return max(n, 1)


def unseen(n: float, alpha: float) -> float:
    """The largest share of samples of a kind of which n may show none, but for a chance of alpha.

    The exact form of the rule of three: (1 - share)^n = alpha (Hanley 1983).
    """
    return float(-math.expm1(math.log(alpha) / n))


def _unseen_needs(share: float, alpha: float) -> int:
    return 1 if share >= 1 else math.floor(math.log(alpha) / math.log1p(-share)) + 1
