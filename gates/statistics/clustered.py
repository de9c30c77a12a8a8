"""Samples that are not independent: several questions on one document, several answers to one.

The cluster is the unit. The mean difference is a ratio of sums over clusters, and its error is that
of their linearised values, corrected for their leverage (cluster-robust errors: Liang and Zeger
1986; Miller 2024, clustered standard errors; leverage as in the CR3 of Bell and McCaffrey 2002).
Unequal clusters count as fewer: (sum of sizes)²/(sum of squared sizes), for degrees of freedom and
the rule of three. Few clusters say little, and the bounds are wide then, up to the whole range.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gates.statistics.bounded import lower_bound
from gates.statistics.comparison import Comparison, Scores
from gates.statistics.sizes import needed_samples


def widen(
    c: Comparison,
    d: Scores,
    clusters: npt.NDArray[Any],
    *,
    span: float,
    margin: float,
    alpha: float,
) -> Comparison:
    """The comparison `c` of the differences `d`, shape (n,), were they clustered.

    `clusters`, shape (n,): any numbers or names, equal within a cluster. `span` is the width of the
    metric's range. No bound gets tighter than that of independent samples. Where every sample is
    its own cluster nothing changes but the count. Raises ValueError for other shapes.
    """
    sums, sizes = by_cluster(d, clusters)
    groups = len(sizes)
    if groups == len(d):
        return replace(c, clusters=groups)
    if groups == 1:
        return replace(
            c, lower=-span, upper=span, method="one cluster: no bound", needed_n=None, clusters=1
        )
    values, effective = linearised(sums, sizes)
    lower = lower_bound(values, -span, alpha, effective=effective, farthest=True)
    upper = -lower_bound(-values, -span, alpha, effective=effective, farthest=True)
    variance = max(float(d.var(ddof=1)), len(d) * float(values.var(ddof=1)) / groups)
    needed = needed_samples(
        c.difference, margin, variance, alpha, span=span, cluster_size=len(d) / effective
    )
    return replace(
        c,
        lower=max(-span, min(c.lower, lower)),
        upper=min(span, max(c.upper, upper)),
        method=f"cluster-robust t interval, corrected for skewness, no tighter than: {c.method}",
        needed_n=needed and max(needed, c.needed_n or 0),
        clusters=groups,
    )


def by_cluster(d: Scores, clusters: npt.NDArray[Any]) -> tuple[Scores, Scores]:
    """Sums of `d`, shape (n,), and numbers of samples, both (clusters,).

    Raises ValueError where `clusters` has another shape.
    """
    if np.shape(clusters) != d.shape:
        raise ValueError(
            f"clusters need one number for each sample, {len(d)}; got {np.shape(clusters)}"
        )
    _, which = np.unique(clusters, return_inverse=True)
    sums = np.asarray(np.bincount(which, d), dtype=np.float64)
    return sums, np.bincount(which).astype(np.float64)


def linearised(sums: Scores, sizes: Scores) -> tuple[Scores, float]:
    """One value for each cluster, of the mean difference, and how many equal clusters they are worth.

    `sums` of differences and `sizes`, both (clusters,), two or more clusters. A value is the mean
    plus the cluster's influence on it, clusters/n · (sum of its residuals), divided by one minus
    its share of the samples.
    """
    n, groups = float(sizes.sum()), len(sizes)
    mean = float(sums.sum()) / n
    influence = (sums - mean * sizes) * groups / n / (1.0 - sizes / n)
    return mean + influence - influence.mean(), float(n**2 / (sizes @ sizes))
