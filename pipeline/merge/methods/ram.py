"""RAM: what one model alone changed is taken whole, what several changed is averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.methods.registry import Apply, method


@method("ram")
def ram(_deltas: Operands, *, epsilon: float) -> Apply:
    """Per entry sum(d where abs(d) > epsilon) / c, with c how many deltas d that is true of; 0 where c is 0.

    Operands: one or more differences from the base, float32. `epsilon`, at least 0: a change up to it counts as
    none. An entry that one delta alone changed is taken as it is; one that several changed, averaged
    over those. One delta comes back without its entries up to `epsilon`. Yuan et al. 2026.
    """

    def apply(block: Block) -> Tensor:
        changes = _changes(block, epsilon)
        return _mean(changes, _count(changes))

    return apply


@method("ramplus_tl")
def ramplus_tl(deltas: Operands, *, epsilon: float, r: float, alpha: float) -> Apply:
    """As `ram`, with g_i * d_i where delta i alone changed an entry.

    g_i = 1 + r * min(s_i / u_i, alpha), for each tensor by itself: u_i is the number of entries that delta i alone
    changed, s_i the number of those that it changed and another too. `r`, `alpha`: at least 0; the gain
    is at most 1 + r alpha. Yuan et al. 2026.
    """
    gains = [1 + r * min(ratio, alpha) for ratio in _overlaps(deltas, epsilon)]

    def apply(block: Block) -> Tensor:
        changes = _changes(block, epsilon)
        count = _count(changes)
        alone = torch.zeros_like(count)
        for change, gain in zip(changes, gains, strict=True):
            alone.add_(change, alpha=gain)
        return torch.where(count == 1, alone, _mean(changes, count))

    return apply


def _overlaps(deltas: Operands, epsilon: float) -> list[float]:
    """For each delta, how many entries it shares per entry that it alone changed."""
    changed, alone = [0] * deltas.count, [0] * deltas.count
    for block in deltas.blocks():
        changes = _changes(block, epsilon)
        single = _count(changes) == 1
        for index, change in enumerate(changes):
            changed[index] += int(torch.count_nonzero(change))
            alone[index] += int(torch.count_nonzero(change.mul_(single)))
    # Without an entry of its own, a delta has nothing to scale.
    return [(c - a) / a if a else 0.0 for c, a in zip(changed, alone, strict=True)]


def _changes(block: Block, epsilon: float) -> Sequence[Tensor]:
    """The block's operands, changed: 0 where abs(d) <= epsilon; what is not finite stays."""
    for delta in block.operands:
        torch.ops.aten.hardshrink.out(delta, epsilon, out=delta)
    return block.operands


def _count(changes: Sequence[Tensor]) -> Tensor:
    """How many of them are not 0, per entry."""
    count = torch.zeros_like(changes[0])
    for change in changes:
        count.add_(change.sign().abs_())
    return count


def _mean(changes: Sequence[Tensor], count: Tensor) -> Tensor:
    """Their sum divided by `count`, by 1 where that is 0."""
    total = torch.zeros_like(count)
    for change in changes:
        total.add_(change)
    return total.div_(count.clamp_min(1.0))
