"""The k-th largest magnitude of a tensor that is read in blocks, exact to the last bit and the last tie.

The magnitudes of float32 numbers are ordered as their bits are, read as whole numbers. A sample of rows says between
which two bits the threshold probably lies; one pass then counts what is above and keeps what is between.
Where the sample misled, or too much lies between, further passes narrow the bracket. The result does not depend on the
sample, which only decides how many passes it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.merge.blocks import Grid, Operands

Bits = npt.NDArray[np.int32]
# From the rows to read (None: all, block by block) to (span, one float32 tensor [rows, columns] per stream).
Streams = Callable[[Iterable[range] | None], Iterator[tuple[range, Sequence[Tensor]]]]

_END = 2**31  # above the bits of every magnitude, NaN included
_KEPT = 1 << 22  # magnitudes of one stream that are kept between two bits
_BINS = 1 << 16
_SAMPLED = 1 << 16  # a tensor with fewer elements is kept as a whole
_SAMPLE_SPANS = 16
_SAMPLE_ELEMENTS = 1 << 16
_SLACK = 0.006  # of the sample, on either side of the threshold's rank there


@dataclass(frozen=True)
class Cut:
    """Which entries are the `count` largest of a tensor: magnitudes above `limit`, and those equal to it up to `last`.

    Of equal magnitudes those of lower flat index come first, so that every machine keeps the same. `limit` is
    infinite where none is kept, and -1 where all are.
    """

    limit: float
    last: int

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

    def read(spans: Iterable[range] | None) -> Iterator[tuple[range, Sequence[Tensor]]]:
        for block in operands.blocks(spans):
            yield block.span, block.operands

    return read


def cut_largest(operands: Operands, fractions: Sequence[float]) -> list[Cut]:
    """For each operand the cut that keeps its k = int(fraction * elements) entries of largest magnitude."""
    counts = [[int(fraction * operands.grid.elements)] for fraction in fractions]
    return [cuts[0] for cuts in select(operand_streams(operands), operands.grid, counts)]


def select(streams: Streams, grid: Grid, counts: Sequence[Sequence[int]]) -> list[tuple[Cut, ...]]:
    """For each stream and each of its `counts` (in [0, elements]) the cut of so many largest magnitudes."""
    targets = [[_Target(count, grid.elements) for count in listed] for listed in counts]
    _bracket(targets, streams, grid)
    while any(target.cut is None for listed in targets for target in listed):
        _pass(targets, streams)
    return [tuple(t.cut for t in listed if t.cut) for listed in targets]


@dataclass
class _Target:
    """One threshold being looked for: it lies between the bits `low` (included) and `high` (not included)."""

    count: int
    elements: int
    low: int = 0
    high: int = _END
    above: int = 0  # entries at or above `high`
    spans: list[range] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)  # entries between, for each block
    total: int = 0  # the sum of `inside`
    kept: list[Bits] = field(default_factory=list)  # those entries above `low`, while they are few
    bins: npt.NDArray[np.int64] | None = None  # else how many there are of each
    cut: Cut | None = None

    def __post_init__(self) -> None:
        if self.count == 0:
            self.cut = Cut(np.inf, -1)
        elif self.count == self.elements:
            self.cut = Cut(-1.0, self.elements - 1)

    @property
    def shift(self) -> int:
        """Bits below the resolution of the bins."""
        return max(0, (self.high - self.low - 1).bit_length() - _BINS.bit_length() + 1)

    def begin(self) -> None:
        """Before a pass."""
        self.above, self.total, self.spans, self.inside = 0, 0, [], []
        self.kept, self.bins = [], None

    def see(self, span: range, bits: Bits) -> None:
        """One block."""
        if self.high < _END:
            self.above += int(np.count_nonzero(bits >= np.int32(self.high)))
        self.spans.append(span)
        if self.high - self.low == 1:  # one magnitude, as where stored weights are coarse
            self._found(int(np.count_nonzero(bits == np.int32(self.low))))
            return
        # As unsigned, what is below `low` wraps to the top: one comparison for both ends.
        offset = (bits - np.int32(self.low)).view(np.uint32)
        between = offset[np.flatnonzero(offset < np.uint32(self.high - self.low))].view(np.int32)
        self._found(between.size)
        if self.bins is not None:
            self._count(between)
            return
        self.kept.append(between)
        if self.total > _KEPT:
            self.bins = np.zeros(_BINS, dtype=np.int64)
            for earlier in self.kept:
                self._count(earlier)
            self.kept = []

    def _found(self, count: int) -> None:
        self.inside.append(count)
        self.total += count

    def _count(self, offsets: Bits) -> None:
        assert self.bins is not None
        self.bins += np.bincount(offsets >> self.shift, minlength=_BINS)

    def narrow(self, tie: Callable[[range, float, int], int]) -> None:
        """After a pass: the cut, or a bracket for the next one. `tie` finds the n-th entry equal to a limit."""
        rank = self.count - self.above  # of the threshold, among those inside, from the largest
        if rank <= 0:
            self.low, self.high = self.high, _END
        elif rank > self.total:
            self.low, self.high = 0, self.low
        elif self.bins is not None:
            reached = np.cumsum(self.bins[::-1])
            place = _BINS - 1 - int(np.searchsorted(reached, rank))
            self.low, self.high = (
                self.low + (place << self.shift),
                min(self.high, self.low + ((place + 1) << self.shift)),
            )
        else:
            self._resolve(rank, tie)

    def _resolve(self, rank: int, tie: Callable[[range, float, int], int]) -> None:
        """The threshold is the `rank`-th largest of what lies inside."""
        offset, wanted, each = 0, rank, self.inside
        if self.high - self.low > 1:
            together = np.concatenate(self.kept)
            offset = _ranked(together, rank, self.high - self.low)
            wanted -= int(np.count_nonzero(together > offset))
            each = [int(np.count_nonzero(kept == offset)) for kept in self.kept]
        limit = float(np.int32(self.low + offset).view(np.float32))
        equal = np.cumsum(each)
        at = int(np.searchsorted(equal, wanted))
        before = int(equal[at - 1]) if at else 0
        last = self.elements - 1
        if wanted < equal[-1]:
            last = tie(self.spans[at], limit, wanted - before)
        self.cut = Cut(limit, last)


def _bracket(targets: Sequence[Sequence[_Target]], streams: Streams, grid: Grid) -> None:
    """First brackets, from a sample of rows spread over the tensor."""
    if grid.elements <= _SAMPLED:
        return
    sampled: list[list[Bits]] = [[] for _ in targets]
    for _, tensors in streams(_sample_spans(grid)):
        for found, tensor in zip(sampled, tensors, strict=True):
            found.append(_bits(tensor).copy())
    for listed, found in zip(targets, sampled, strict=True):
        sample = np.concatenate(found)
        for target in listed:
            place = sample.size * (1 - target.count / grid.elements)
            slack = _SLACK * sample.size + 8
            low, high = int(place - slack), int(place + slack)
            inside = [rank for rank in (low, high) if 0 < rank < sample.size]
            if inside:
                sample.partition(inside)
            if low in inside:
                target.low = int(sample[low])
            if high in inside:
                target.high = int(sample[high]) + 1


def _ranked(values: Bits, rank: int, limit: int) -> int:
    """The `rank`-th largest of whole numbers in [0, limit): by counting, twice where they are wide."""
    shift = max(0, (limit - 1).bit_length() - _BINS.bit_length() + 1)
    places = values >> shift
    reached = np.cumsum(np.bincount(places)[::-1])
    at = int(np.searchsorted(reached, rank))
    place = reached.size - 1 - at
    if not shift:
        return place
    rank -= int(reached[at - 1]) if at else 0
    inside = values[np.flatnonzero(places == place)] - np.int32(place << shift)
    return (place << shift) + _ranked(inside, rank, 1 << shift)


def _sample_spans(grid: Grid) -> list[range]:
    rows = max(1, _SAMPLE_ELEMENTS // _SAMPLE_SPANS // grid.columns)
    starts = np.unique(
        np.linspace(0, grid.rows - rows, min(_SAMPLE_SPANS, grid.rows), dtype=np.int64)
    )
    return [range(int(start), int(start) + rows) for start in starts]


def _pass(targets: Sequence[Sequence[_Target]], streams: Streams) -> None:
    """One pass over the tensor for every threshold that is not yet known."""
    wanted = [[target for target in listed if target.cut is None] for listed in targets]
    for listed in wanted:
        for target in listed:
            target.begin()
    for span, tensors in streams(None):
        for listed, tensor in zip(wanted, tensors, strict=True):
            if listed:
                bits = _bits(tensor)
                for target in listed:
                    target.see(span, bits)
    for index, listed in enumerate(wanted):
        for target in listed:
            target.narrow(partial(_tie, streams, index))


def _tie(streams: Streams, stream: int, span: range, limit: float, number: int) -> int:
    """The flat index of the `number`-th entry of a span whose magnitude is `limit`."""
    ((_, tensors),) = streams([span])
    tensor = tensors[stream]
    equal = np.flatnonzero(_bits(tensor) == np.float32(limit).view(np.int32))
    return span.start * tensor.shape[1] + int(equal[number - 1])


def _bits(tensor: Tensor) -> Bits:
    """The magnitudes of a float32 tensor as whole numbers in the same order, flat."""
    found: Bits = tensor.abs().cpu().view(torch.int32).numpy().reshape(-1)
    return found


def _shrink(values: Tensor, limit: float) -> Tensor:
    """Zero where abs(x) <= limit, in place; NaN stays."""
    return torch.ops.aten.hardshrink.out(values, limit, out=values)


def _below(limit: float) -> float:
    """The next lower float32 of a magnitude; of 0, 0."""
    return float(np.nextafter(np.float32(limit), np.float32(0)))
