"""SCE: select the entries on which the deltas differ, weigh the deltas by their energy, erase minority signs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Operands
from pipeline.merge.methods.registry import Apply, method
from pipeline.merge.methods.selection import Cut, OfTensor, Streams, select


@method("sce")
def sce(deltas: Operands, *, select_topk: float) -> Apply:
    """sum(w d) / sum(w) per entry, over the deltas d whose sign agrees with the elected one.

    Operands: one or more differences from the base, float32. `select_topk`, in (0, 1]: of the m entries
    whose variance over the deltas is not 0, the k = int(select_topk * m) of largest variance are
    selected (of equal ones those of lower flat index) and the others are 0 in all deltas; at 1 every
    entry is selected, those of variance 0 too. Below 1, one delta alone or equal ones give zero.
    The weight w of a delta is the mean of its squares over the tensor, after the selection. The elected
    sign is that of the sum of the deltas without weights; 0 elects plus. An entry of 0 agrees with nothing.

    Wan et al. 2024, section 3.3: select, calculate, erase. The variance is that of the population.
    """
    cut = Cut(-1.0, deltas.grid.elements - 1)
    if select_topk < 1:
        count = int(select_topk * _differing(deltas))
        ((cut,),) = select(_variances(deltas), deltas.grid, [[count]])
    energy = torch.zeros(deltas.count, dtype=torch.float64)
    for block in deltas.blocks():
        for index, delta in enumerate(_selected(block, cut)):
            energy[index] += delta.square_().sum(dtype=torch.float64)
    total = float(energy.sum()) or 1.0
    weight = (energy / total).tolist()
    return lambda block: _fused(_selected(block, cut), weight)


def variance(deltas: Sequence[Tensor]) -> Tensor:
    """The population variance per entry, float32; exactly 0 where all deltas are equal."""
    # As differences from the first one: the mean of equal numbers need not be that number.
    apart = [delta - deltas[0] for delta in deltas]
    mean = torch.zeros_like(deltas[0])
    for delta in apart:
        mean.add_(delta)
    mean.div_(len(deltas))
    total = torch.zeros_like(mean)
    for delta in apart:
        total.add_(delta.sub_(mean).square_())
    return total.div_(len(deltas))


def _variances(deltas: Operands) -> Streams:
    """The variance as a stream to select from."""

    def read(spans: Iterable[range] | None) -> Iterator[tuple[range, Sequence[OfTensor]]]:
        for block in deltas.blocks(spans):
            yield block.span, [OfTensor(variance(block.operands))]

    return read


def _differing(deltas: Operands) -> int:
    """The number of entries on which the deltas differ."""
    return sum(int(torch.count_nonzero(variance(block.operands))) for block in deltas.blocks())


def _selected(block: Block, cut: Cut) -> Sequence[Tensor]:
    """The block's operands, changed: zero where the variance is cut off."""
    if cut.limit >= 0:
        chosen = cut.keep(variance(block.operands), block.first).sign_()
        for delta in block.operands:
            delta.mul_(chosen)
    return block.operands


def _fused(deltas: Sequence[Tensor], weight: Sequence[float]) -> Tensor:
    """Per entry the weighted mean of the deltas that have the sign of their sum. They are changed."""
    sign = deltas[0].clone()
    for delta in deltas[1:]:
        sign.add_(delta)
    sign.sign_().add_(0.5).sign_()  # 1 where the sum is 0
    total, divisor = torch.zeros_like(sign), torch.zeros_like(sign)
    for delta, factor in zip(deltas, weight, strict=True):
        agreeing = delta.mul_(sign).clamp_min_(0.0)
        total.add_(agreeing, alpha=factor)
        divisor.add_(agreeing.sign_(), alpha=factor)
    # Where nothing agrees both are 0.
    return total.mul_(sign).div_(divisor.clamp_min_(torch.finfo(divisor.dtype).tiny))
