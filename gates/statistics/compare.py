"""Which method fits the scores at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy.typing as npt

from gates.statistics.binary import paired_binary
from gates.statistics.bounded import paired_bounded
from gates.statistics.clustered import widen
from gates.statistics.comparison import Comparison, Scores, is_binary, need_pairs


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

    `margin`, in the metric's units, is the loss that is allowed; `alpha`, in (0, 1), the chance for
    each bound by itself to lie on the wrong side. `clusters`, shape (n,): samples with the same
    number are not independent of each other.

    Scores of 0 and 1 in the range [0, 1] get the exact test of Tango's score (`binary`), others a
    guarded t interval (`bounded`); clusters widen either (`clustered`). Where the comparison is
    undecided, `needed_n` is more than n. Raises ValueError for no samples, unequal shapes, scores
    out of range, NaN.
    """
    need_pairs(candidate, reference)
    if is_binary(candidate, low, high) and is_binary(reference, low, high):
        c = paired_binary(candidate, reference, margin, alpha)
    else:
        c = paired_bounded(candidate, reference, margin, alpha, low=low, high=high)
    if clusters is not None:
        d = candidate - reference
        c = widen(c, d, clusters, span=high - low, margin=margin, alpha=alpha)
    if c.needed_n is not None and c.lower <= -margin <= c.upper:
        c = replace(c, needed_n=max(c.needed_n, c.n + 1))
    return c
