"""Model Breadcrumbs: take the largest and the smallest entries off each delta, then merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.selection import operand_streams, select
from pipeline.merge.methods.sums import weighted_sum
from pipeline.merge.methods.task_arithmetic import sum_factors
from pipeline.merge.methods.ties import agreeing_sum, weighted


@method("breadcrumbs")
def breadcrumbs(
    deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    gamma: Sequence[float],
    normalize: bool,
    lambda_: float,
) -> Apply:
    """lambda * sum(w d) of the deltas d without their tails, divided by sum(w) with `normalize`.

    Operands: one or more differences from the base, float32. Of the n entries of a tensor,
    k = int(density * n) are kept: those that follow the int(gamma * n) of largest magnitude, or fewer of
    these where less than k would follow. So `density` in (0, 1] holds whatever `gamma` in [0, 1] is, and at
    density 1 nothing is dropped. Of equal magnitudes those of lower flat index count as larger. What is not
    finite never vanishes by being dropped. `weight`, `lambda_`: finite.

    Davari, Belilovsky 2024, section 3, where both tails are given as fractions and all weights are equal.
    """
    masks = _masks(deltas, density, gamma)
    factors = sum_factors(weight, normalize, lambda_)
    return lambda block: weighted_sum(list(masks(block)), factors)


@method("breadcrumbs_ties")
def breadcrumbs_ties(
    deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    gamma: Sequence[float],
    normalize: bool,
    lambda_: float,
) -> Apply:
    """As `breadcrumbs`, but of the weighted deltas only those are summed that have the elected sign.

    Sign election and `normalize` as in TIES.
    """
    masks = _masks(deltas, density, gamma)

    def apply(block: Block) -> Tensor:
        return agreeing_sum(weighted(masks(block), weight), weight, normalize).mul_(lambda_)

    return apply


def _masks(
    deltas: Operands, density: Sequence[float], gamma: Sequence[float]
) -> Callable[[Block], Tensor]:
    """What takes the tails off the operands of a block, which are changed."""
    counts = [
        _counts(deltas.grid.elements, share, tail)
        for share, tail in zip(density, gamma, strict=True)
    ]
    cuts = select(operand_streams(deltas), deltas.grid, counts)

    def masked(block: Block) -> Tensor:
        stack = block.stack
        for delta, (top, kept) in zip(stack, cuts, strict=True):
            outliers = top.keep(delta.clone(), block.first)
            kept.keep(delta, block.first).sub_(outliers)
        return stack

    return masked


def _counts(elements: int, density: float, gamma: float) -> tuple[int, int]:
    """How many entries lie in the upper tail, and how many in it and in what is kept."""
    kept = int(density * elements)
    top = min(int(gamma * elements), elements - kept)
    return top, top + kept
