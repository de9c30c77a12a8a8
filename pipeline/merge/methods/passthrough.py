"""Passthrough: one tensor as it is, or scaled."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.merge.methods.registry import method


@method("passthrough")
def passthrough(tensors: Sequence[Tensor], *, scale: Sequence[float]) -> Tensor:
    """scale * x, for one tensor x of any shape, float32 in and out. A scale of 1 returns equal bits.

    Stacks layers and fuses one adapter. `scale` is finite; 0 silences a projection, as in depth
    up-scaling with identity blocks (Kim et al. 2024).
    """
    (tensor,), (factor,) = tensors, scale
    return tensor * factor
