"""Model Stock: how far to follow the mean of the deltas, by the angles between them."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import gram, row_grams, summed, weighted_sum

# 1 + (n-1) c is 0 where the directions of the deltas cancel. Below this it is rounding.
VANISHING = 1e-6


@method("model_stock")
def model_stock(deltas: Operands, *, filter_wise: bool) -> Apply:
    """t * mean(d), with t = n c / (1 + (n-1) c) and c the mean cosine between two of the n deltas.

    Operands: two or more differences from the base, float32. Each is one flat vector; with `filter_wise`
    each row [.., columns] is one and has its own t, except in tensors of one dimension or of one column. Jang et al.
    2024, section 4, the interpolation ratio of N models; there the deltas are equally long and all angles equal.

    Equal deltas give t = 1, orthogonal ones 0. Where c is negative, so is t, as in mergekit; the paper does not
    speak of that. Where the directions cancel (c = -1/(n-1), no ratio is defined) t is 0. A delta of zeros
    counts as at right angles to the others. Sums and cosines in float64.
    """
    if not filter_wise or deltas.grid.columns == 1:
        factors = [float(ratio(gram(deltas))) / deltas.count] * deltas.count
        return summed(factors)

    def apply(block: Block) -> Tensor:
        factor = (ratio(row_grams(block.operands)) / deltas.count).float().unsqueeze(-1)
        total = weighted_sum(block.operands, [1.0] * deltas.count)
        return total.mul_(factor.to(total.device))

    return apply


def ratio(products: Tensor) -> Tensor:
    """t for inner products of n deltas, float64 [..., n, n]: float64 [...]."""
    count = products.shape[-1]
    squares = products.diagonal(dim1=-2, dim2=-1)
    lengths = (squares.unsqueeze(-1) * squares.unsqueeze(-2)).sqrt()
    cosines = (products / lengths).masked_fill_(lengths == 0, 0.0)
    pairs = torch.ones(count, count, dtype=torch.float64).fill_diagonal_(0.0)
    cosine = (cosines * pairs).sum((-2, -1)) / (count * (count - 1))
    divisor = 1 + (count - 1) * cosine
    return (count * cosine / divisor).masked_fill_(divisor < VANISHING, 0.0)
