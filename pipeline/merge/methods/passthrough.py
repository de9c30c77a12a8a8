"""Passthrough: one tensor as it is, or scaled."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.merge.blocks import Operands
from pipeline.merge.methods.registry import Apply, method


@method("passthrough")
def passthrough(_tensor: Operands, *, scale: Sequence[float]) -> Apply:
    """scale * x, for one tensor x, float32. A scale of 1 returns equal bits.

    Stacks layers and fuses one adapter. `scale` is finite; 0 silences a projection, as in depth
    up-scaling with identity blocks (Kim et al. 2024).
    """
    (factor,) = scale
    return lambda block: block.operands[0].mul_(factor)
