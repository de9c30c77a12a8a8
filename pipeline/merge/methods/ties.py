"""TIES: trim each delta, elect a sign per entry, merge the deltas that agree with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.merge.methods.registry import method
from pipeline.merge.methods.sums import VANISHING, l1_norm, weighted_sum

# Below this L1 norm a delta has no size worth restoring.
SMALLEST_NORM = 1e-7


@method("ties")
def ties(
    deltas: Sequence[Tensor],
    *,
    weight: Sequence[float],
    density: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
) -> Tensor:
    """lambda * sum of the trimmed weighted deltas whose sign agrees with the elected one.

    `deltas`: one or more differences from the base, of equal shape [...], float32 in and out.
    `density`: the fraction of entries kept per delta, in (0, 1]; `weight`, `lambda_`: finite.
    `normalize` divides each entry by the sum of the weights that took part in it; `rescale` gives
    each trimmed delta back its L1 norm. What is dropped is multiplied by 0, so that an entry that is
    not finite shows in the result instead of vanishing. Yadav et al. 2023, algorithm 1; there the weights are
    equal, here the sign is elected on the weighted deltas.
    """
    trimmed = [trim(d, fraction, rescale) for d, fraction in zip(deltas, density, strict=True)]
    return agreeing_sum(trimmed, weight, normalize).mul_(lambda_)


def trim(delta: Tensor, density: float, rescale: bool) -> Tensor:
    """`delta` [...] with its k = int(density * numel) entries of largest magnitude, others zero.

    Of equal magnitudes the lower flat index is kept first, so that every machine keeps the same;
    k = 0 keeps none. With `rescale` the result has the L1 norm of `delta` (not where either is
    below 1e-7).
    """
    kept = int(density * delta.numel())
    if kept == delta.numel():
        return delta
    trimmed = delta * largest(delta, kept)
    if not rescale:
        return trimmed
    before, after = l1_norm(delta), l1_norm(trimmed)
    return trimmed if min(before, after) < SMALLEST_NORM else trimmed.mul_(before / after)


def largest(values: Tensor, count: int) -> Tensor:
    """A boolean mask [...] of the `count` entries of largest magnitude, lower flat index first.

    A selection of one order statistic, not a sort. `count` lies in [0, numel].
    """
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    magnitude = values.flatten().abs()
    rank = magnitude.numel() - count
    threshold = float(np.partition(magnitude.numpy(), rank)[rank])  # a third of kthvalue's time
    mask = magnitude > threshold
    at_threshold = (magnitude == threshold).nonzero().flatten()
    mask[at_threshold[: count - int(mask.count_nonzero())]] = True
    return mask.view(values.shape)


def agreeing_sum(deltas: Sequence[Tensor], weight: Sequence[float], normalize: bool) -> Tensor:
    """Per entry, the sum of the weighted deltas that have the elected sign. Shapes [...], float32.

    The elected sign is that of sum(w d); a sum of 0 elects plus. An entry of 0 agrees with nothing.
    With `normalize`, divided by the sum of the weights of those that agree, by 1 where that is 0.
    """
    positive = weighted_sum(deltas, weight) >= 0
    total = torch.zeros_like(deltas[0])
    divisor = torch.zeros_like(deltas[0])
    for delta, factor in zip(deltas, weight, strict=True):
        weighted = delta * factor
        agrees = ((weighted > 0) == positive) & (weighted != 0)
        total.add_(weighted.mul_(agrees))
        if normalize:
            divisor.add_(agrees, alpha=factor)
    if not normalize:
        return total
    vanishes = divisor.abs() <= VANISHING * sum(map(abs, weight))
    return total.div_(divisor.mul_(~vanishes).add_(vanishes))
