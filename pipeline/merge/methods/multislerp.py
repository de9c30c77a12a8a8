"""Weighted mean on the sphere of any number of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.merge.blocks import Operands
from pipeline.merge.methods.karcher import CANCELLED, norm
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import gram, summed


@method("multislerp")
def multislerp(
    operands: Operands, *, weight: Sequence[float], normalize_weights: bool, eps: float
) -> Apply:
    """L * s / |s|, with L = sum(w |x|) and s = sum(w x / (|x| + eps)).

    Operands: two or more tensors x, float32, each one flat vector; values, or differences from a base.
    `weight`: one finite factor per tensor, of any sign; with `normalize_weights` divided by their sum,
    which must not be 0: ZeroDivisionError. `eps`, in (0, 1], keeps what is hardly longer than it from having a say
    in the direction.

    s / |s| is where Buss and Fillmore 2001 (algorithm A1) start the search for their spherical average. mergekit goes
    on from there through the tangent space, but by orthogonal projection, in which the weighted directions
    cancel: it ends where it started, shorter by cos(eps). So does this, at full length; `karcher` searches on.

    Tensors of zeros count as zeros. Where the directions cancel (|s| below eps, or below 1e-3 of sum(abs(w))) the
    result is sum(w x); mergekit refuses that for three tensors or more.
    """
    total = sum(weight) if normalize_weights else 1.0
    shares = torch.tensor([factor / total for factor in weight], dtype=torch.float64)
    products = gram(operands)
    lengths = products.diagonal().sqrt()
    units = shares / (lengths + eps)
    length = norm(units, products)
    if not length < max(eps, CANCELLED * float(shares.abs().sum())):
        shares = units * (shares @ lengths) / length
    factors = shares.tolist()
    return summed(factors)
