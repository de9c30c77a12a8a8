"""DARE: drop entries of each delta at random, scale the rest, then merge as TIES or as a sum."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.draws import keep_mask, masked
from pipeline.merge.fused import SignedSum
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import weighted_sum
from pipeline.merge.methods.task_arithmetic import sum_factors
from pipeline.merge.methods.ties import agreeing_sum, elected, weighted


@method("dare_linear")
def dare_linear(
    _deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
    keys: Sequence[int],
) -> Apply:
    """Task arithmetic of the deltas after `drop`; the arguments are those of `dare_ties`."""
    factors = sum_factors(weight, normalize, lambda_)
    together = SignedSum(factors).drop(keys, density, rescale)

    def apply(block: Block) -> Tensor:
        if block.fused:
            return together.of(block.stored, block.first)
        return weighted_sum(list(_dropped(block, density, rescale, keys)), factors)

    return apply


@method("dare_ties")
def dare_ties(
    _deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
    keys: Sequence[int],
) -> Apply:
    """lambda * sum of the weighted deltas after `drop` whose sign agrees with the elected one.

    Operands: one or more differences from the base, float32. `density`: the probability that an entry is
    kept, in (0, 1]; `weight`, `lambda_`: finite; `keys`: a 64-bit key per delta, from which its draws
    come. Sign election and `normalize` as in TIES; nothing is trimmed.
    """

    together = SignedSum(weight).drop(keys, density, rescale)
    elected(together, weight, normalize, lambda_)

    def apply(block: Block) -> Tensor:
        if block.fused:
            return together.of(block.stored, block.first)
        dropped = _dropped(block, density, rescale, keys)
        return agreeing_sum(weighted(dropped, weight), weight, normalize).mul_(lambda_)

    return apply


def drop(delta: Tensor, density: float, rescale: bool, key: int, first: int = 0) -> Tensor:
    """`delta`, changed: each entry kept with probability `density`, else zero.

    `first`: the flat index of its first entry, on which the draws depend. With `rescale` the survivors
    are scaled by 1 / density, so that the expectation is `delta` (Yu et al. 2024, section 3.2, with drop
    rate 1 - density). mergekit restores the L1 norm of the tensor instead, which differs by the luck of
    the draw.
    """
    if density < 1:
        masked(delta, keep_mask(key, delta.numel(), density, first))
    return delta.div_(density) if rescale else delta


def _dropped(block: Block, density: Sequence[float], rescale: bool, keys: Sequence[int]) -> Tensor:
    """The operands [count, rows, columns] after `drop`."""
    stack = block.stack
    for delta, share, key in zip(stack, density, keys, strict=True):
        drop(delta, share, rescale, key, block.first)
    return stack
