"""The k-th largest magnitude of a tensor that is read in blocks, exact to the last bit and the last tie.

The magnitudes of float32 numbers are ordered as their bits are, read as whole numbers. A sample of rows says between
which two bits the threshold probably lies; one pass then counts what is above and keeps what is between.
Where the sample misled, or too much lies between, further passes narrow the bracket. The result does not depend on the
sample, which only decides how many passes it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from pipeline.merge import fused
from pipeline.merge.blocks import Block, Grid, Operands
from pipeline.merge.methods.thresholds import Bits, Magnitudes, Threshold


class OfTensor(Magnitudes):
    """Those of a float32 tensor in memory, which is changed."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    @cached_property
    def bits(self) -> Bits:
        """Flat, as whole numbers in the same order."""
        found: Bits = self._tensor.abs_().cpu().view(torch.int32).numpy().reshape(-1)
        return found


class OfOperand(Magnitudes):
    """Those of one operand of a block."""

    def __init__(self, block: Block, index: int) -> None:
        self._block, self._index = block, index

    @cached_property
    def bits(self) -> Bits:
        """Flat, as whole numbers in the same order; the operand is changed."""
        return OfTensor(self._block.operands[self._index]).bits

    def between(self, low: int, high: int, keep: bool) -> tuple[int, int, Bits | None]:
        """As for every kind of magnitudes, in one compiled loop where that may be."""
        if self._block.fused:
            return fused.between(self._block.stored, self._index, low, high, keep)
        return super().between(low, high, keep)


# From the rows to read (None: all, block by block) to (span, the magnitudes of each stream).
Streams = Callable[[Iterable[range] | None], Iterator[tuple[range, Sequence[Magnitudes]]]]

_SAMPLED = 1 << 16  # a tensor with fewer elements is kept as a whole
_SAMPLE_SPANS = 32
_SAMPLE_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Cut:
    """Which entries are the `count` largest of a tensor: magnitudes above `limit`, and those equal to it up to `last`.

    Of equal magnitudes those of lower flat index come first, so that every machine keeps the same. `limit` is
    infinite where none is kept, and -1 where all are.
    """

    limit: float
    last: int

    @property
    def limits(self) -> tuple[float, float]:
        """What is cut: magnitudes of the first or less up to the index `last`, of the second or less from there on."""
        whole = self.limit < 0 or np.isinf(self.limit)
        return (self.limit if whole else _below(self.limit)), self.limit

    def keep(self, values: Tensor, first: int) -> Tensor:
        """`values` (whose first element has the flat index `first`), changed: zero where they are cut off.

        What is not finite never vanishes in silence.
        """
        if self.limit < 0:
            return values
        if np.isinf(self.limit):
            return values.mul_(0)
        if first > self.last:
            return _shrink(values, self.limit)
        if first + values.numel() - 1 <= self.last:
            return _shrink(values, _below(self.limit))
        flat, at = values.view(-1), self.last + 1 - first
        _shrink(flat[:at], _below(self.limit))
        _shrink(flat[at:], self.limit)
        return values


def operand_streams(operands: Operands) -> Streams:
    """Each operand itself as a stream."""

    def read(spans: Iterable[range] | None) -> Iterator[tuple[range, Sequence[Magnitudes]]]:
        for block in operands.blocks(spans):
            yield block.span, [OfOperand(block, index) for index in range(operands.count)]

    return read


def cut_largest(operands: Operands, fractions: Sequence[float]) -> list[Cut]:
    """For each operand the cut that keeps its k = int(fraction * elements) entries of largest magnitude."""
    counts = [[int(fraction * operands.grid.elements)] for fraction in fractions]
    return [cuts[0] for cuts in select(operand_streams(operands), operands.grid, counts)]


def select(streams: Streams, grid: Grid, counts: Sequence[Sequence[int]]) -> list[tuple[Cut, ...]]:
    """For each stream and each of its `counts` (in [0, elements]) the cut of so many largest magnitudes."""
    targets = [[Threshold(count, grid.elements) for count in listed] for listed in counts]
    assert all(0 <= count <= grid.elements for listed in counts for count in listed)
    _guess(targets, streams, grid)
    while any(target.found is None for listed in targets for target in listed):
        _pass(targets, streams)
    return [tuple(Cut(*t.found) for t in listed if t.found) for listed in targets]


def _guess(targets: Sequence[Sequence[Threshold]], streams: Streams, grid: Grid) -> None:
    """First brackets, from a sample of rows spread over the tensor."""
    if grid.elements <= _SAMPLED:
        return
    sampled: list[list[Bits]] = [[] for _ in targets]
    for _, magnitudes in streams(_sample_spans(grid)):
        for found, one in zip(sampled, magnitudes, strict=True):
            found.append(one.bits[:: -(-one.bits.size * _SAMPLE_SPANS // _SAMPLE_ELEMENTS)].copy())
    for listed, found in zip(targets, sampled, strict=True):
        for target in listed:
            target.guess(found)


def _sample_spans(grid: Grid) -> list[range]:
    rows = max(1, _SAMPLE_ELEMENTS // _SAMPLE_SPANS // grid.columns)
    starts = np.unique(
        np.linspace(0, grid.rows - rows, min(_SAMPLE_SPANS, grid.rows), dtype=np.int64)
    )
    return [range(int(start), int(start) + rows) for start in starts]


def _pass(targets: Sequence[Sequence[Threshold]], streams: Streams) -> None:
    """One pass over the tensor for every threshold that is not yet known."""
    wanted = [[target for target in listed if target.found is None] for listed in targets]
    for listed in wanted:
        for target in listed:
            target.begin()
    for span, magnitudes in streams(None):
        for listed, one in zip(wanted, magnitudes, strict=True):
            for target in listed:
                target.see(span, one)
    for index, listed in enumerate(wanted):
        for target in listed:
            target.narrow(partial(_tie, streams, index))


def _tie(streams: Streams, stream: int, span: range, limit: float, number: int) -> int:
    """The flat index of the `number`-th entry of a span whose magnitude is `limit`."""
    ((_, magnitudes),) = streams([span])
    bits = magnitudes[stream].bits
    equal = np.flatnonzero(bits == np.float32(limit).view(np.int32))
    return span.start * (bits.size // len(span)) + int(equal[number - 1])


def _shrink(values: Tensor, limit: float) -> Tensor:
    """Zero where abs(x) <= limit, in place; NaN stays."""
    return torch.ops.aten.hardshrink.out(values, limit, out=values)


def _below(limit: float) -> float:
    """The next lower float32 of a magnitude; of 0, 0."""
    return float(np.nextafter(np.float32(limit), np.float32(0)))
