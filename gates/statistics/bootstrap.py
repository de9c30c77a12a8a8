"""The studentised bootstrap of a mean (Efron and Tibshirani 1993, section 12.5; Hall 1992, book).

Resamples are drawn by counter: the k-th draw is the k-th raw output of Philox with a fixed key, so
that the same scores give the same bound on every machine and with every version of NumPy, whose
streams of *numbers* may change while those of raw bits may not.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gates.statistics.comparison import Scores

RESAMPLES = 999
LARGEST = 2000  # values; above, the resamples would cost more than the rest of the gate
KEY = 20240531
_BLOCK = 1 << 21  # draws held in memory at a time: 16 MB of raw bits


def studentised(values: Scores) -> Scores:
    """(mean* - mean)/error* of 999 resamples of `values`, shape (n,), n >= 2, in rising order.

    Infinite, with the sign of its mean, where a resample holds one value alone and has no error.
    """
    n, mean = len(values), float(values.mean())
    centred = values - mean
    means, errors = np.empty(RESAMPLES), np.empty(RESAMPLES)
    rows = max(1, _BLOCK // n)
    bits = np.random.Philox(key=KEY)
    for start in range(0, RESAMPLES, rows):
        stop = min(RESAMPLES, start + rows)
        drawn = centred[_indices(bits, (stop - start) * n, n)].reshape(-1, n)
        means[start:stop] = drawn.mean(axis=1)
        errors[start:stop] = drawn.std(axis=1, ddof=1) / math.sqrt(n)
    alike = errors <= 1e-12 * float(np.abs(centred).max())
    infinite = np.copysign(np.full(RESAMPLES, np.inf), means)
    return np.sort(np.divide(means, errors, out=infinite, where=~alike))


def quantile(sorted_t: Scores, level: float) -> float:
    """The `level` quantile, in (0, 1); infinite above 0.999, which so few resamples do not reach."""
    rank = math.ceil((RESAMPLES + 1) * level - 1e-9)
    return float(sorted_t[rank - 1]) if rank <= RESAMPLES else math.inf


def tail(sorted_t: Scores, observed: float) -> float:
    """The chance of at least `observed`, in [1/1000, 1]."""
    above = RESAMPLES - int(np.searchsorted(sorted_t, observed, side="left"))
    return (above + 1) / (RESAMPLES + 1)


def _indices(bits: np.random.Philox, count: int, n: int) -> npt.NDArray[np.intp]:
    """`count` numbers below n, from the upper 32 of each 64 raw bits; n is far below 2^32."""
    raw = np.asarray(bits.random_raw(count), dtype=np.uint64) >> np.uint64(32)
    return ((raw * np.uint64(n)) >> np.uint64(32)).astype(np.intp)
