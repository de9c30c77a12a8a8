"""Spherical linear interpolation by weights: of whole tensors, of their rows or of their columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import gram, row_grams, summed

# Weights whose sum is smaller do not say where on the arc to stop.
VANISHING_SUM = 1e-6
# A cosine beyond it is 1 or -1 but for the rounding of float32: no arc, or half a turn in no direction.
STRAIGHT_ABOVE = 1 - torch.finfo(torch.float32).eps


@method("nuslerp")
def nuslerp(
    operands: Operands,
    *,
    weight: Sequence[float],
    nuslerp_flatten: bool,
    nuslerp_row_wise: bool,
) -> Apply:
    """sin((1-t) a) / sin(a) x + sin(t a) / sin(a) y, with a the angle between x and y.

    Operands: x and y, float32; values, or differences from a base. t = w2 / (w1 + w2), and 1/2 where
    abs(w1 + w2) < 1e-6; `weight` is finite, of any sign. As in `slerp`, x and y keep their lengths, and
    the angle is reduced in float64.

    `nuslerp_flatten` takes the tensor as one vector. Without it each row [.., columns] is a vector of its
    own; with `nuslerp_row_wise` besides, each column. So it is in mergekit: the names fit the transpose of what
    is stored. A tensor of one column is always one vector, as is one of one dimension.

    A vector of zeros has no direction and counts as at right angles to the other. Where x and y point the same or
    opposite ways (cos a is 1 or -1 to float32) the result is (1-t) x + t y.
    """
    total = sum(weight)
    t = weight[1] / total if abs(total) >= VANISHING_SUM else 0.5
    if nuslerp_flatten or operands.grid.columns == 1:
        factors = arcs(gram(operands), t).tolist()
        return summed(factors)
    if nuslerp_row_wise:
        columns = arcs(column_grams(operands), t).float().T.contiguous()
        return lambda block: _blend(block, columns)
    return lambda block: _blend(block, arcs(row_grams(block.operands), t).float().T.unsqueeze(-1))


def arcs(products: Tensor, t: float) -> Tensor:
    """The factors of x and y at `t` of the arc between them: float64 [..., 2].

    `products`: the inner products of x and y, float64 [..., 2, 2].
    """
    squares = products[..., 0, 0] * products[..., 1, 1]
    cosine = (products[..., 0, 1] / squares.sqrt()).masked_fill_(squares == 0, 0.0)
    angle = cosine.clamp(-1, 1).acos_().unsqueeze_(-1)
    along = torch.tensor([1 - t, t], dtype=torch.float64)
    straight = ~(cosine.abs() < STRAIGHT_ABOVE).unsqueeze(-1)
    return torch.where(straight, along, (angle * along).sin_() / angle.sin())


def column_grams(operands: Operands) -> Tensor:
    """The inner products of x and y column by column: float64 [columns, 2, 2]."""
    total = torch.zeros(operands.grid.columns, 3, dtype=torch.float64)
    for block in operands.blocks():
        x, y = block.operands
        for index, product in enumerate((x * x, y * y, x * y)):
            total[:, index] += product.sum(0, dtype=torch.float64).cpu()
    xx, yy, xy = total.unbind(1)
    return torch.stack([torch.stack([xx, xy], 1), torch.stack([xy, yy], 1)], 1)


def _blend(block: Block, factors: Tensor) -> Tensor:
    """The sum of both operands with factors [2, rows, 1] or [2, columns]."""
    x, y = block.operands
    of_x, of_y = factors.to(x.device)
    return x.mul_(of_x).addcmul_(y, of_y)
