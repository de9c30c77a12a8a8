"""Task arithmetic: a weighted sum of differences from the base."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.merge.blocks import Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import divisor_of, summed


@method("task_arithmetic")
def task_arithmetic(
    _deltas: Operands, *, weight: Sequence[float], normalize: bool, lambda_: float
) -> Apply:
    """lambda * sum(w d), divided by sum(w) with `normalize` (by 1 where that sum is 0).

    Operands: one or more differences from the base, float32. `weight`: one finite factor per delta;
    `lambda_`: a finite factor of the sum. Ilharco et al. 2023, section 2; their scaling of the sum is
    `lambda_`. Zero deltas give zero.
    """
    factors = sum_factors(weight, normalize, lambda_)
    return summed(factors)


def sum_factors(weight: Sequence[float], normalize: bool, lambda_: float) -> list[float]:
    """The factor of each delta in the merged one."""
    total = divisor_of(weight) if normalize else 1.0
    return [lambda_ * factor / total for factor in weight]
