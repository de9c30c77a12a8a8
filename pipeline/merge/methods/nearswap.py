"""Nearswap: the base moves to the other model where both are near, and a set distance towards it elsewhere."""

from __future__ import annotations

from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.methods.registry import Apply, method


@method("nearswap")
def nearswap(_delta: Operands, *, t: float) -> Apply:
    """d * min(t / |d|, 1) per entry, which is d clamped to [-t, t].

    Operands: one difference d from the base, float32. `t` >= 0, in the unit of the weights: 0 gives the
    base; entries that differ by no more than t are those of the other model. An entry that is not finite gives NaN
    instead of t.
    """

    def apply(block: Block) -> Tensor:
        delta = block.operands[0]
        not_finite = delta.mul(0.0)  # 0, or NaN
        return delta.clamp_(-t, t).add_(not_finite)

    return apply
