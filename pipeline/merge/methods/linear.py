"""Weighted mean of tensors (model soups)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.merge.blocks import Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import summed


@method("linear")
def linear(_tensors: Operands, *, weight: Sequence[float], normalize: bool) -> Apply:
    """sum(w x) / sum(w), or sum(w x) without `normalize`.

    Operands: one or more tensors, float32; values, not differences. `weight`: one finite factor per
    tensor, of any sign. Weights are divided before the sum, so that one tensor, or one that has all the
    weight, comes back bit for bit. With `normalize` the weights must not sum to 0: ZeroDivisionError.
    """
    total = sum(weight) if normalize else 1.0
    shares = [factor / total for factor in weight]
    return summed(shares)
