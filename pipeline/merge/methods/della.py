"""DELLA: drop entries of each delta at random, small ones more often, then merge as TIES or as a sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.draws import masked, uniform
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import weighted_sum
from pipeline.merge.methods.task_arithmetic import sum_factors
from pipeline.merge.methods.ties import agreeing_sum, weighted


@method("della_linear")
def della_linear(
    _deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    epsilon: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
    keys: Sequence[int],
) -> Apply:
    """Task arithmetic of the deltas after `prune`; the arguments are those of `della`."""
    _check(density, epsilon)
    factors = sum_factors(weight, normalize, lambda_)
    return lambda block: weighted_sum(
        list(_pruned(block, density, epsilon, rescale, keys)), factors
    )


@method("della")
def della(
    _deltas: Operands,
    *,
    weight: Sequence[float],
    density: Sequence[float],
    epsilon: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
    keys: Sequence[int],
) -> Apply:
    """lambda * sum of the weighted deltas after `prune` whose sign agrees with the elected one.

    Operands: one or more differences from the base, float32. `density`: the mean probability that an
    entry is kept; `epsilon`: how far from it the probabilities go, down and up. density - epsilon and
    density + epsilon lie in (0, 1), else ValueError; a density of 1 keeps all, whatever `epsilon` is.
    `weight`, `lambda_`: finite; `keys`: a 64-bit key per delta, from which its draws come. Sign election
    and `normalize` as in TIES. Deep et al. 2024, steps drop, elect and fuse.
    """
    _check(density, epsilon)

    def apply(block: Block) -> Tensor:
        pruned = _pruned(block, density, epsilon, rescale, keys)
        return agreeing_sum(weighted(pruned, weight), weight, normalize).mul_(lambda_)

    return apply


def prune(
    delta: Tensor, density: float, epsilon: float, rescale: bool, key: int, first: int = 0
) -> Tensor:
    """`delta` [rows, columns], changed: each entry kept with a probability p by its rank, else zero.

    Within a row of n entries, the one of rank i by magnitude (0: the smallest; of equal ones that of lower
    index) is kept with p = density - epsilon + 2 epsilon i / (n - 1), and a row of one with p =
    density. Entries in one column are one row; where they fill several blocks, each block is one.
    `first`: the flat index of the first entry, on which the draws depend.

    With `rescale` survivors are scaled by 1 / p, so that the expectation is `delta` (Deep et al. 2024,
    MAGPRUNE). There the probabilities span epsilon in steps of epsilon / n; here, as recipes mean it, twice
    that, both ends included. mergekit restores the L1 norm of the tensor instead of scaling by 1 / p.
    """
    if density == 1:
        return delta
    rows = delta.view(1, -1) if delta.shape[1] == 1 else delta
    limits = torch.empty(rows.shape, dtype=torch.float64)  # p of each entry, in units of a draw
    chances = keep_chances(rows.shape[1], density, epsilon).mul_(2**32)
    limits.scatter_(1, _by_magnitude(rows), chances.expand(rows.shape))
    draws = uniform(key, delta.numel(), first).reshape(rows.shape)
    masked(rows, torch.from_numpy(draws < limits.numpy()))
    if rescale:
        rows.div_(limits.mul_(2**-32).to(rows.device))
    return delta


def keep_chances(columns: int, density: float, epsilon: float) -> Tensor:
    """The probability to be kept by rank in a row, from the smallest magnitude to the largest."""
    if columns == 1:
        return torch.tensor([density], dtype=torch.float64)
    return torch.linspace(density - epsilon, density + epsilon, columns, dtype=torch.float64)


def _by_magnitude(rows: Tensor) -> Tensor:
    """Per row the columns in order of magnitude, then of index: int64 [rows, columns], on the CPU.

    Magnitude and index are packed into one whole number, as numpy sorts those about three times as fast
    as it sorts indices stably, and no two are equal.
    """
    keys = rows.abs().cpu().view(torch.int32).numpy().astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(rows.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    keys &= np.uint64(0xFFFFFFFF)
    return torch.from_numpy(keys.view(np.int64))


def _pruned(
    block: Block,
    density: Sequence[float],
    epsilon: Sequence[float],
    rescale: bool,
    keys: Sequence[int],
) -> Tensor:
    """The operands [count, rows, columns] after `prune`."""
    stack = block.stack
    for delta, share, width, key in zip(stack, density, epsilon, keys, strict=True):
        prune(delta, share, width, rescale, key, block.first)
    return stack


def _check(density: Sequence[float], epsilon: Sequence[float]) -> None:
    for share, width in zip(density, epsilon, strict=True):
        if share != 1 and not 0 < share - width <= share + width < 1:
            raise ValueError(
                f"density {share:g} with epsilon {width:g} gives keep probabilities "
                f"from {share - width:g} to {share + width:g}; both ends must be in (0, 1)."
            )
