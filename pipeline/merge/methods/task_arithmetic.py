"""Task arithmetic: a weighted sum of differences from the base."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.merge.methods.registry import method
from pipeline.merge.methods.sums import divisor_of, weighted_sum


@method("task_arithmetic")
def task_arithmetic(
    deltas: Sequence[Tensor], *, weight: Sequence[float], normalize: bool, lambda_: float
) -> Tensor:
    """lambda * sum(w d), divided by sum(w) with `normalize` (by 1 where that sum is 0).

    `deltas`: one or more differences from the base, of equal shape [...], float32 in and out.
    `weight`: one finite factor per delta; `lambda_`: a finite factor of the sum. Ilharco et al.
    2023, section 2; their scaling of the sum is `lambda_`. Zero deltas give zero.
    """
    total = divisor_of(weight) if normalize else 1.0
    return weighted_sum(deltas, [lambda_ * factor / total for factor in weight])
