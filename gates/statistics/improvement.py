"""Claims that a candidate is better, not merely not worse: p-values, and Holm over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc

from gates.statistics.bounded import p_not_above
from gates.statistics.clustered import by_cluster, linearised
from gates.statistics.comparison import Scores, is_binary, need_pairs, need_range


def improvement_p(
    candidate: Scores,
    reference: Scores,
    *,
    low: float,
    high: float,
    clusters: npt.NDArray[Any] | None = None,
) -> float:
    """The one-sided p-value of «the candidate is no better than its reference», in (0, 1].

    Scores of 0 and 1: the exact conditional test of the discordant pairs (McNemar 1947; a sign
    test). Others: the alpha at which the lower bound of the guarded t interval is 0. Clusters: the
    larger of that and the one of clusters. Raises what `compare` raises.
    """
    need_pairs(candidate, reference)
    if clusters is not None and len(np.unique(clusters)) == len(candidate):
        clusters = None
    sign = 0.0
    if is_binary(candidate, low, high) and is_binary(reference, low, high):
        gained = int(np.count_nonzero(candidate > reference))
        lost = int(np.count_nonzero(candidate < reference))
        sign = float(bdtrc(gained - 1, gained + lost, 0.5)) if gained else 1.0
        if clusters is None:
            return sign

    need_range(candidate, reference, low, high)
    d = candidate - reference
    p = p_not_above(d, low - high, 0.0, effective=len(d))
    if clusters is None:
        return p
    sums, sizes = by_cluster(d, clusters)
    if len(sizes) == 1:
        return 1.0
    values, effective = linearised(sums, sizes)
    return max(sign, p, p_not_above(values, low - high, 0.0, effective=effective, farthest=True))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which claims hold, in the order given; the chance that any of them is wrong is at most alpha.

    The step-down procedure of Holm 1979: the k-th smallest of m p-values must be at most
    alpha/(m - k + 1), and all before it must hold. No p-values give an empty list. Raises
    ValueError for one that is not in [0, 1].
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value lies in [0, 1]; got {p}")
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    held = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        held[i] = True
    return held
