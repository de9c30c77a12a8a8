"""Sums that several methods share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Weights of both signs may sum to nothing but rounding; a sum this small against them counts as 0.
VANISHING = 1e-6


def divisor_of(weight: Sequence[float]) -> float:
    """sum(w), or 1 where that is 0."""
    total = sum(weight)
    return total if abs(total) > VANISHING * sum(map(abs, weight)) else 1.0


def weighted_sum(tensors: Sequence[Tensor], weight: Sequence[float]) -> Tensor:
    """sum(w x), added in the order given. Shapes [...], float32 in and out."""
    total = torch.zeros_like(tensors[0])
    for tensor, factor in zip(tensors, weight, strict=True):
        total.add_(tensor, alpha=factor)
    return total


def l1_norm(tensor: Tensor) -> float:
    """sum(abs(x)) in float64: a float32 sum loses digits on large tensors."""
    return float(tensor.abs().sum(dtype=torch.float64))
