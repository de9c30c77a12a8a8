"""Spherical linear interpolation between two tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.merge.methods.registry import method
from pipeline.merge.methods.sums import weighted_sum

# Above this |cos| the arc is so short (or so near half a turn) that sin(angle) divides noise.
LERP_ABOVE = 0.9995


@method("slerp")
def slerp(tensors: Sequence[Tensor], *, t: float) -> Tensor:
    """sin((1-t) a) / sin(a) x + sin(t a) / sin(a) y, with a the angle between x and y.

    `tensors`: x and y of equal shape [...], float32 in and out; values, not differences. Each is
    taken as one flat vector. `t` in [0, 1]: 0 gives x, 1 gives y. Shoemake 1985 speaks of unit
    vectors; here, as usual for weights, x and y keep their lengths and only a is taken between
    directions. Where |cos a| > 0.9995, and where one of them is zero and so has no direction, the
    result is (1-t) x + t y. The angle is reduced in float64.
    """
    x, y = tensors
    cosine = _cosine(x, y)
    if cosine is None or abs(cosine) > LERP_ABOVE:
        return weighted_sum((x, y), (1 - t, t))
    angle = math.acos(cosine)
    factors = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return weighted_sum((x, y), factors)


def _cosine(x: Tensor, y: Tensor) -> float | None:
    """cos of the angle between two tensors as flat vectors; None where one of them is zero."""
    lengths = [float((z * z).sum(dtype=torch.float64)) for z in (x, y)]
    if min(lengths) == 0:
        return None
    return float((x * y).sum(dtype=torch.float64)) / math.sqrt(lengths[0] * lengths[1])
