"""The Karcher mean: the point of the sphere whose directions to all models cancel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.merge.blocks import Operands
from pipeline.merge.methods.nuslerp import STRAIGHT_ABOVE
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import gram, summed

# A mean of directions shorter than this points, and is as long, as the rounding of float32 will have it.
CANCELLED = 1e-3


@method("karcher")
def karcher(tensors: Operands, *, max_iter: float, tol: float) -> Apply:
    """The mean length of the tensors times m, the centre of mass of their directions on the sphere.

    Operands: two or more tensors, float32, each one flat vector; values, not differences. All count
    equally. m is where the sum of log_m(x_i / |x_i|) is zero (Karcher 1977, section 1), found by stepping
    along the mean of these tangent vectors from the normalized mean of the directions: `max_iter` steps (a whole
    number, 1 or more), or until a step is shorter than `tol` (radians).

    Tensors of zeros have no direction; they count in the mean length alone. Where the directions cancel,
    the search starts at the first. A direction opposite to m has no tangent vector and does not pull.

    Every vector on the way is a sum of the operands, so the search needs only their inner products: it runs on
    factors in float64, whatever the size of the tensor.
    """
    products = gram(tensors)
    lengths = products.diagonal().sqrt()
    factors = torch.zeros_like(lengths)
    pointing = lengths.nonzero().squeeze(1)
    if pointing.numel():
        units = lengths[pointing]
        cosines = products[pointing][:, pointing] / torch.outer(units, units)
        factors[pointing] = centre(cosines, int(max_iter), tol) / units * lengths.mean()
    shares = factors.tolist()
    return summed(shares)


def centre(cosines: Tensor, max_iter: int, tol: float) -> Tensor:
    """The factors [n] with which n unit vectors sum to their centre, from their inner products [n, n], float64."""
    mean = torch.full_like(cosines[0], 1 / len(cosines))
    length = norm(mean, cosines)
    first = torch.eye(len(cosines), dtype=torch.float64)[0]
    at = first if length < CANCELLED else mean / length
    for _ in range(max_iter):
        step = tangent(at, cosines)
        angle = norm(step, cosines)
        if not angle >= tol:
            break
        at = at * math.cos(angle) + step * _sinc(torch.tensor(angle))
        at /= norm(at, cosines)
    return at


def tangent(at: Tensor, cosines: Tensor) -> Tensor:
    """The mean of the tangent vectors log_m(u) = a / sin(a) (u - cos(a) m), as factors of the u.

    `at`: the factors of m; a: the angle between m and u.
    """
    cosine = (cosines @ at).clamp_(-1, 1)
    pull = (1 / _sinc(cosine.acos())).masked_fill_(cosine <= -STRAIGHT_ABOVE, 0.0) / len(at)
    return pull - (pull @ cosine) * at


def norm(factors: Tensor, products: Tensor) -> float:
    """The length of the sum of vectors with `factors` [n], from their inner products [n, n]; NaN stays."""
    return math.sqrt(max(float(factors @ products @ factors), 0.0))


def _sinc(angle: Tensor) -> Tensor:
    """sin(a) / a, 1 at 0."""
    return torch.sinc(angle / math.pi)
