"""Sums that several methods share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.fused import SignedSum
from pipeline.merge.methods.registry import Apply

# Weights of both signs may sum to nothing but rounding; a sum this small against them counts as 0.
VANISHING = 1e-6


def divisor_of(weight: Sequence[float]) -> float:
    """sum(w), or 1 where that is 0."""
    total = sum(weight)
    return total if abs(total) > VANISHING * sum(map(abs, weight)) else 1.0


def weighted_sum(tensors: Sequence[Tensor], weight: Sequence[float]) -> Tensor:
    """sum(w x), added in the order given. Shapes [...], float32; all are changed, the first holds the result."""
    total = tensors[0].mul_(weight[0])
    for tensor, factor in zip(tensors[1:], weight[1:], strict=True):
        total.add_(
            tensor.mul_(factor)
        )  # not `alpha`, which may round once where there are two operations
    return total


def summed(factors: Sequence[float]) -> Apply:
    """What sums the operands of a block times `factors`, in their order."""
    together = SignedSum(factors)

    def apply(block: Block) -> Tensor:
        if block.fused:
            return together.of(block.stored, block.first)
        return weighted_sum(block.operands, factors)

    return apply


def gram(operands: Operands) -> Tensor:
    """All inner products of the operands as flat vectors: float64 [count, count], reduced in float64."""
    total = torch.zeros(operands.count, operands.count, dtype=torch.float64)
    for block in operands.blocks():
        total += row_grams([tensor.reshape(1, -1) for tensor in block.operands])[0]
    return total


def row_grams(tensors: Sequence[Tensor]) -> Tensor:
    """The inner products of the operands row by row: float64 [rows, count, count].

    `tensors`: float32 [rows, columns] each.
    """
    count = len(tensors)
    found = torch.empty(tensors[0].shape[0], count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(i, count):
            found[:, i, j] = (tensors[i] * tensors[j]).sum(1, dtype=torch.float64)
            found[:, j, i] = found[:, i, j]
    return found


def l1_norms(operands: Operands) -> list[float]:
    """sum(abs(x)) of each operand, reduced in float64: a float32 sum loses digits on large tensors."""
    total = [0.0] * operands.count
    for block in operands.blocks():
        for index, tensor in enumerate(block.operands):
            total[index] += l1_norm(tensor)
    return total


def l1_norm(tensor: Tensor) -> float:
    """sum(abs(x)) of one block, reduced in float64."""
    return float(tensor.abs().sum(dtype=torch.float64))
