"""Spherical linear interpolation between two tensors."""

from __future__ import annotations

import math

from pipeline.merge.blocks import Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.sums import gram, summed

# Above this |cos| the arc is so short (or so near half a turn) that sin(angle) divides noise.
LERP_ABOVE = 0.9995


@method("slerp")
def slerp(tensors: Operands, *, t: float) -> Apply:
    """sin((1-t) a) / sin(a) x + sin(t a) / sin(a) y, with a the angle between x and y.

    Operands: x and y, float32; values, not differences. Each is taken as one flat vector. `t` in [0, 1]:
    0 gives x, 1 gives y. Shoemake 1985 speaks of unit vectors; here, as usual for weights, x and y keep
    their lengths and only a is taken between directions. Where |cos a| > 0.9995 the result is
    (1-t) x + t y. A zero tensor has no direction and counts as at right angles, as in mergekit. The
    angle is reduced in float64.
    """
    products = gram(tensors)
    factors = arc_factors(float(products[0, 0]), float(products[1, 1]), float(products[0, 1]), t)
    return summed(factors)


def arc_factors(xx: float, yy: float, xy: float, t: float) -> tuple[float, float]:
    """The factors of x and y at `t` of the arc, from their inner products."""
    cosine = xy / math.sqrt(xx * yy) if min(xx, yy) > 0 else 0.0
    if not abs(cosine) <= LERP_ABOVE:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
