"""The figures of one tensor's differences, in one pass over its blocks. Sums are kept in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.diagnose.figures import TOP, Floats, Sums
from pipeline.diagnose.spectrum import Sketch
from pipeline.merge.blocks import Operands
from pipeline.merge.methods.sums import l1_norm, row_grams

# Magnitudes are counted by the leading bits of their float32: the exponent and 8 bits after the point, so that one
# bin spans 1/256 of an octave's lower end and the share of a part of the entries is right to 0.004 of itself.
_SHIFT = 15
_BINS = 1 << (31 - _SHIFT)
BINS_PER_OCTAVE = 1 << (23 - _SHIFT)


@dataclass(frozen=True)
class Measured:
    """The sums over one tensor, and the inner products of base and differences [1 + n, 1 + n], base first."""

    sums: Sums
    gram: Floats


def measure(operands: Operands, sketches: Sequence[Sketch | None]) -> Measured:
    """Read `operands` (differences, with their base) once; each sketch sees its difference."""
    count = operands.count
    gram = np.zeros((count + 1, count + 1))
    opposed, both = np.zeros((count, count)), np.zeros((count, count))
    mass, added = np.zeros(count), np.zeros(1)
    magnitudes = np.zeros((count, _BINS), dtype=np.int64)
    for block in operands.blocks():
        assert block.base is not None
        deltas = list(block.operands)
        gram += row_grams([block.base, *deltas]).sum(0).numpy()
        net, shared = _signs(deltas)
        opposed += (shared - net) / 2
        both += shared
        added += l1_norm(_total(deltas))
        for index, delta in enumerate(deltas):
            mass[index] += l1_norm(delta)
            magnitudes[index] += _counted(delta)
            if sketch := sketches[index]:
                sketch.see(delta)
    changed = np.diagonal(both)
    return Measured(
        Sums(
            inner=gram[1:, 1:],
            base=gram[0, 0] * (changed > 0),
            opposed=opposed,
            either=changed[:, None] + changed[None, :] - both,
            mass=mass,
            top=mass * np.array([_top_share(counts) for counts in magnitudes]),
            added=added,
        ),
        gram,
    )


def _signs(deltas: Sequence[Tensor]) -> tuple[Floats, Floats]:
    """For each pair: entries of equal less entries of opposite sign, and entries that both change."""
    signs = torch.stack([delta.sign().view(-1) for delta in deltas])
    net = signs @ signs.T  # whole numbers below 2^24, so exact in float32
    signs.abs_()
    return net.double().numpy(), (signs @ signs.T).double().numpy()


def _total(deltas: Sequence[Tensor]) -> Tensor:
    total = deltas[0].clone()
    for delta in deltas[1:]:
        total.add_(delta)
    return total


def _counted(delta: Tensor) -> npt.NDArray[np.int64]:
    """How many magnitudes lie in each bin."""
    bits = delta.abs().view(torch.int32).numpy().reshape(-1)
    return np.bincount(bits >> _SHIFT, minlength=_BINS)


def _middles() -> Floats:
    """The magnitude in the middle of each bin; 0 for the bin of the zeros, and beyond the finite numbers."""
    finite = np.arange(1, 0x7F800000 >> _SHIFT, dtype=np.int32)
    middles = np.zeros(_BINS)
    middles[1 : finite.size + 1] = ((finite << _SHIFT) + (1 << (_SHIFT - 1))).view(np.float32)
    return middles


_MIDDLES = _middles()


def _top_share(counts: npt.NDArray[np.int64]) -> float:
    """The share of the mass in the TOP of the entries of largest magnitude; 0 where there is no mass."""
    falling = counts[::-1].astype(np.float64)
    reached = np.cumsum(falling)
    wanted = TOP * reached[-1]
    taken = np.clip(wanted - (reached - falling), 0.0, falling)
    values = _MIDDLES[::-1]
    whole = float(falling @ values)
    return float(taken @ values) / whole if whole else 0.0
