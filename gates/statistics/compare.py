"""Which method fits the scores at hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from gates.statistics.paired import Comparison, Scores, paired_binary, paired_bounded


def compare(
    candidate: Scores,
    reference: Scores,
    *,
    low: float,
    high: float,
    margin: float,
    alpha: float,
    clusters: npt.NDArray[Any] | None = None,
) -> Comparison:
    """Compare two columns of scores in [low, high], shape (n,), float64, more being better.

    `clusters`, shape (n,), integers: samples with the same number are not independent of each
    other. Raises ValueError for no samples, unequal shapes, scores out of range.
    """
    binary = (low, high) == (0.0, 1.0) and bool(
        np.isin(candidate, (0.0, 1.0)).all() and np.isin(reference, (0.0, 1.0)).all()
    )
    if binary:
        c = paired_binary(candidate, reference, margin, alpha)
    else:
        c = paired_bounded(candidate, reference, margin, alpha, low=low, high=high)
    if clusters is None:
        return c
    d = candidate - reference
    if np.shape(clusters) != d.shape:
        raise ValueError(f"clusters need the shape of the scores, {d.shape}")
    _, which = np.unique(clusters, return_inverse=True)
    groups = int(which.max()) + 1
    sums = np.bincount(which, d - d.mean(), groups)
    span = high - low
    if groups > 1:
        error = math.sqrt(groups / (groups - 1) * float(sums @ sums)) / len(d)
        half = float(stdtrit(groups - 1, 1 - alpha)) * error
    else:
        half = 2 * span
    return replace(
        c,
        lower=max(-span, min(c.lower, c.difference - half)),
        upper=min(span, max(c.upper, c.difference + half)),
        method=f"{c.method}; clustered errors",
        clusters=groups,
    )
