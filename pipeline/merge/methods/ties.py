"""TIES: trim each delta, elect a sign per entry, merge the deltas that agree with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.fused import SignedSum
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.selection import Cut, cut_largest
from pipeline.merge.methods.sums import VANISHING, l1_norm

# Below this L1 norm a delta has no size worth restoring.
SMALLEST_NORM = 1e-7


@method("ties")
def ties(
    deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
) -> Apply:
    """lambda * sum of the trimmed weighted deltas whose sign agrees with the elected one.

    Operands: one or more differences from the base, float32. `density`: the fraction of entries kept
    per delta, in (0, 1]: the k = int(density * elements) of largest magnitude, of equal ones those of
    lower flat index; k = 0 keeps none. `weight`, `lambda_`: finite. `normalize` divides each entry by
    the sum of the weights that took part in it; `rescale` gives each trimmed delta back the L1 norm
    that it had (not where either norm is below 1e-7). What is not finite never vanishes by being
    trimmed. Yadav et al. 2023, algorithm 1; there the weights are equal, here the sign is elected on
    the weighted deltas.
    """
    cuts = cut_largest(deltas, density)
    factors = list(weight)
    if rescale:
        scales = restored(deltas, cuts)
        factors = [factor * scale for factor, scale in zip(weight, scales, strict=True)]

    together = SignedSum(factors).trim([cut.limits for cut in cuts], [cut.last for cut in cuts])
    elected(together, weight, normalize, lambda_)

    def apply(block: Block) -> Tensor:
        if block.fused:
            return together.of(block.stored, block.first)
        return agreeing_sum(weighted(trim(block, cuts), factors), weight, normalize).mul_(lambda_)

    return apply


def trim(block: Block, cuts: Sequence[Cut]) -> Tensor:
    """The block's operands [count, rows, columns], changed: zero where the cut of each leaves nothing."""
    stack = block.stack
    for delta, cut in zip(stack, cuts, strict=True):
        cut.keep(delta, block.first)
    return stack


def restored(deltas: Operands, cuts: Sequence[Cut]) -> list[float]:
    """For each delta, its L1 norm before the cut divided by that after it; 1 where either is below 1e-7."""
    before, after = [0.0] * deltas.count, [0.0] * deltas.count
    for block in deltas.blocks():
        for index, delta in enumerate(block.operands):
            before[index] += l1_norm(delta)
        for index, delta in enumerate(trim(block, cuts)):
            after[index] += l1_norm(delta)
    return [
        b / a if min(b, a) >= SMALLEST_NORM else 1.0 for b, a in zip(before, after, strict=True)
    ]


def weighted(deltas: Tensor, weight: Sequence[float]) -> Tensor:
    """`deltas` [count, ...], changed: each times its weight."""
    return deltas.mul_(_column(weight, deltas))


def agreeing_sum(deltas: Tensor, weight: Sequence[float], normalize: bool) -> Tensor:
    """Per entry, the sum of the weighted `deltas` [count, ...] that have the elected sign. They are changed.

    The elected sign is that of their sum; a sum of 0 elects plus. An entry of 0 agrees with nothing. With
    `normalize`, divided by the sum of the `weight` of those that agree, by 1 where that is 0.
    """
    # 1 where the sum is 0 or above, -1 below it; x + 0.0 makes zeros positive.
    sign = torch.copysign(_ONE.to(deltas.device), _sum(deltas).add_(0.0))
    agreeing = deltas.mul_(sign).clamp_min_(0.0)
    total = _sum(agreeing).mul_(sign)
    if not normalize:
        return total
    divisor = _sum(weighted(agreeing.sign_(), weight))
    # 1 instead of a sum that is 0 but for rounding
    if min(weight) <= 0:
        vanishing = VANISHING * sum(map(abs, weight))
        divisor.masked_fill_(divisor.abs() <= vanishing, 1.0)
    else:  # a sum of positive weights is 0 only where nothing agrees, and then so is the total
        divisor.clamp_min_(min(weight) / 2)
    return total.div_(divisor)


def elected(
    together: SignedSum, weight: Sequence[float], normalize: bool, scale: float
) -> SignedSum:
    """`together`, with the sign election and the division of `agreeing_sum`, times `scale`."""
    vanishing = VANISHING * sum(map(abs, weight)) if min(weight) <= 0 else 0.0
    return together.elect(weight, vanishing if normalize else None, scale)


def _sum(deltas: Tensor) -> Tensor:
    """The sum over the first dimension, in its order. A third of the time of `sum(0)`, which has few terms to add."""
    total = deltas[0] + deltas[1] if len(deltas) > 1 else deltas[0].clone()
    for delta in deltas[2:]:
        total.add_(delta)
    return total


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """[count, 1, ...], for tensors [count, ...]."""
    return torch.tensor(values, device=like.device).view(-1, *[1] * (like.dim() - 1))


_ONE = torch.tensor(1.0)
