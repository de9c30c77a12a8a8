"""Claims that a candidate is better, not merely not worse: p-values, and Holm over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc

from gates.statistics.compare import compare
from gates.statistics.paired import Scores


def improvement_p(
    candidate: Scores,
    reference: Scores,
    *,
    low: float,
    high: float,
    clusters: npt.NDArray[Any] | None = None,
) -> float:
    """The one-sided p-value of «the candidate is no better than its reference»."""
    if clusters is None and (low, high) == (0.0, 1.0) and np.isin(candidate, (0, 1)).all():
        gained = int(np.sum(candidate > reference))
        lost = int(np.sum(candidate < reference))
        return float(bdtrc(gained - 1, gained + lost, 0.5)) if gained else 1.0
    below, above = 1e-12, 0.5
    for _ in range(50):
        middle = (below + above) / 2
        c = compare(
            candidate, reference, low=low, high=high, margin=0, alpha=middle, clusters=clusters
        )
        below, above = (below, middle) if c.lower > 0 else (middle, above)
    return above


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which claims hold, all together at `alpha` (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    held = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        held[i] = True
    return held
