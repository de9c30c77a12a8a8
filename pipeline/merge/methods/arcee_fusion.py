"""Arcee Fusion: take the entries of the other model that matter most, by difference and divergence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Grid, Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.selection import OfTensor, Streams, select

_QUARTILES = (0.25, 0.5, 0.75)
# Tukey's fence, in interquartile ranges; here from the median.
_FENCE = 1.5


@method("arcee_fusion")
def arcee_fusion(deltas: Operands) -> Apply:
    """The delta d where its importance is at least median + 1.5 (Q3 - Q1) of all importances, else 0.

    Operands: one difference from the base, float32; the base is looked at too. The importance of an entry is
    abs(d) * KL(softmax(base + d) || softmax(base)), the softmax being taken over its row (the last axis) and
    the divergence summed over it, in float64. Entries in one column are one row. The quartile q of n importances
    is the one at floor(q (n - 1)) of the order from below, without interpolation. Equal models give zero.

    After Arcee's description (2025); what it leaves open (over what the softmax goes, the direction, at least
    instead of above, the quartiles) was found from mergekit's results. There the divergence is a sum in
    float32, most of which is rounding where changes are small: 2.5 % of the entries are chosen otherwise at changes of
    0.001, 11 % at 0.0001. And the threshold is that of a sample where a tensor has over a million entries.
    """
    if not deltas.grid.elements:
        return lambda block: block.operands[0]
    divergence = _divergences(deltas)
    threshold = _threshold(deltas, divergence)

    def apply(block: Block) -> Tensor:
        (delta,) = block.operands
        # so written that an importance that is no number is never cut off
        unimportant = _importance(block, divergence) < threshold
        return delta.masked_fill_(unimportant, 0.0)

    return apply


def _importance(block: Block, divergence: Tensor) -> Tensor:
    (delta,) = block.operands
    rows = divergence[block.span.start : block.span.stop].to(delta.device)
    return delta.abs().mul_(rows[:, None])


def _divergences(deltas: Operands) -> Tensor:
    """The divergence of each row, float32 [rows].

    KL(p || q) = E_p[d] - log(sum(exp(base + d)) / sum(exp(base))): three numbers per row, or per block where all
    rows make one.
    """
    single, parts = deltas.grid.columns == 1, [torch.empty(3, 0, dtype=torch.float64)]
    for block in deltas.blocks():
        assert block.base is not None
        base, delta = block.base.double(), block.operands[0].double()
        if single:
            base, delta = base.view(1, -1), delta.view(1, -1)
        before, model = base.logsumexp(1), base.add_(delta)
        after = model.logsumexp(1)
        mean = model.sub_(after[:, None]).exp_().mul_(delta).sum(1)
        parts.append(torch.stack((before, after, mean)).cpu())
    before, after, mean = torch.cat(parts, 1)
    if single:
        mean = (after.softmax(0) * mean).sum(0, keepdim=True)
        before, after = before.logsumexp(0, keepdim=True), after.logsumexp(0, keepdim=True)
    # Below 0 it is only by rounding.
    found = (mean - (after - before)).clamp_min_(0.0).float()
    return found.expand(deltas.grid.rows)


def _threshold(deltas: Operands, divergence: Tensor) -> float:
    """median + 1.5 (Q3 - Q1) of the importances."""
    elements = deltas.grid.elements

    def read(spans: Iterable[range] | None) -> Iterator[tuple[range, Sequence[OfTensor]]]:
        for block in deltas.blocks(spans):
            yield block.span, [OfTensor(_importance(block, divergence))]

    low, median, high = _smallest(read, deltas.grid, [int(q * (elements - 1)) for q in _QUARTILES])
    return median + _FENCE * (high - low)


def _smallest(streams: Streams, grid: Grid, places: Sequence[int]) -> list[float]:
    """The values of a stream of magnitudes at `places` of the order from below."""
    (cuts,) = select(streams, grid, [[grid.elements - place for place in places]])
    limits = [cut.limit for cut in cuts]
    if 0 in places:  # the cut that keeps all has no limit
        least = min(float(one.bits.min().view(np.float32)) for _, (one,) in streams(None))
        limits = [limit if place else least for place, limit in zip(places, limits, strict=True)]
    return limits
