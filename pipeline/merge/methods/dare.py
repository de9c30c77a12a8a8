"""DARE: drop entries of each delta at random, scale the rest, then merge as TIES or as a sum."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.merge.draws import keep_mask
from pipeline.merge.methods.registry import method
from pipeline.merge.methods.task_arithmetic import task_arithmetic
from pipeline.merge.methods.ties import agreeing_sum


@method("dare_linear")
def dare_linear(
    deltas: Sequence[Tensor],
    *,
    weight: Sequence[float],
    density: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
    keys: Sequence[int],
) -> Tensor:
    """Task arithmetic of the deltas after `drop`; the arguments are those of `dare_ties`."""
    dropped = _drop_each(deltas, density, rescale, keys)
    return task_arithmetic(dropped, weight=weight, normalize=normalize, lambda_=lambda_)


@method("dare_ties")
def dare_ties(
    deltas: Sequence[Tensor],
    *,
    weight: Sequence[float],
    density: Sequence[float],
    normalize: bool,
    rescale: bool,
    lambda_: float,
    keys: Sequence[int],
) -> Tensor:
    """lambda * sum of the weighted deltas after `drop` whose sign agrees with the elected one.

    `deltas`: one or more differences from the base, of equal shape [...], float32 in and out.
    `density`: the probability that an entry is kept, in (0, 1]; `weight`, `lambda_`: finite;
    `keys`: a 64-bit key per delta, from which its draws come. Sign election and `normalize` as in
    TIES; nothing is trimmed.
    """
    dropped = _drop_each(deltas, density, rescale, keys)
    return agreeing_sum(dropped, weight, normalize).mul_(lambda_)


def drop(delta: Tensor, density: float, rescale: bool, key: int) -> Tensor:
    """`delta` [...] with each entry kept with probability `density`, else zero.

    With `rescale` the survivors are scaled by 1 / density, so that the expectation is `delta` (Yu
    et al. 2024, section 3.2, with drop rate 1 - density). mergekit restores the L1 norm of the
    tensor instead, which differs by the luck of the draw.
    """
    kept = delta * keep_mask(key, delta.numel(), density).view(delta.shape)
    return kept.div_(density) if rescale else kept


def _drop_each(
    deltas: Sequence[Tensor], density: Sequence[float], rescale: bool, keys: Sequence[int]
) -> list[Tensor]:
    arguments = zip(deltas, density, keys, strict=True)
    return [drop(delta, fraction, rescale, key) for delta, fraction, key in arguments]
