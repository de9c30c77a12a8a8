"""Weighted mean of tensors (model soups)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.merge.methods.registry import method
from pipeline.merge.methods.sums import weighted_sum


@method("linear")
def linear(tensors: Sequence[Tensor], *, weight: Sequence[float], normalize: bool) -> Tensor:
    """sum(w x) / sum(w), or sum(w x) without `normalize`.

    `tensors`: one or more of equal shape [...], float32 in and out; values, not differences.
    `weight`: one finite factor per tensor, of any sign. Weights are divided before the sum, so that
    one tensor, or one that has all the weight, comes back bit for bit. With `normalize` the weights
    must not sum to 0: ZeroDivisionError.
    """
    total = sum(weight) if normalize else 1.0
    return weighted_sum(tensors, [factor / total for factor in weight])
