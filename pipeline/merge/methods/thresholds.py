"""One threshold of a tensor that is read in blocks: the magnitude of a given rank, found between two bounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[
    np.int32
]  # magnitudes of float32 numbers, read as whole numbers in the same order

END = 2**31  # above the bits of every magnitude, NaN included
_KEPT = 1 << 22  # magnitudes of one stream that are kept between two bits
_BINS = 1 << 16
_SLACK = 0.005  # of the sample, on either side of the threshold's rank there, at least
_ERRORS = 3  # standard errors of that rank


class Magnitudes(ABC):
    """The magnitudes of a run of entries."""

    @property
    @abstractmethod
    def bits(self) -> Bits:
        """Flat, as whole numbers in the same order."""

    def between(self, low: int, high: int, keep: bool) -> tuple[int, int, Bits | None]:
        """How many are `high` or more, how many in [low, high), and, with `keep`, the latter minus `low`."""
        bits = self.bits
        above = int(np.count_nonzero(bits >= np.int32(high))) if high < END else 0
        if not keep:
            inside = (bits >= np.int32(low)) & (bits < np.int64(high))
            return above, int(np.count_nonzero(inside)), None
        # As unsigned, what is below `low` wraps to the top: one comparison for both ends.
        offset = (bits - np.int32(low)).view(np.uint32)
        between = offset[np.flatnonzero(offset < np.uint32(high - low))].view(np.int32)
        return above, between.size, between


@dataclass
class Threshold:
    """One threshold being looked for: it lies between the bits `low` (included) and `high` (not included)."""

    count: int
    elements: int
    low: int = 0
    high: int = END
    wider: tuple[int, int] | None = None  # a bracket to try where this one misses
    above: int = 0  # entries at or above `high`
    spans: list[range] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)  # entries between, for each block
    total: int = 0  # the sum of `inside`
    kept: list[Bits] = field(default_factory=list)  # those entries above `low`, while they are few
    bins: npt.NDArray[np.int64] | None = None  # else how many there are of each
    found: tuple[float, int] | None = None  # limit and last index of the cut

    def __post_init__(self) -> None:
        if self.count == 0:
            self.found = (np.inf, -1)
        elif self.count == self.elements:
            self.found = (-1.0, self.elements - 1)

    @property
    def shift(self) -> int:
        """Bits below the resolution of the bins."""
        return max(0, (self.high - self.low - 1).bit_length() - _BINS.bit_length() + 1)

    def guess(self, rows: Sequence[Bits]) -> None:
        """Choose the first bracket: around the place in a sample of the entries that the threshold has among all.

        `rows` are runs of neighbours. Where entries of a row are alike, as in the product of thin matrices, the
        place is less certain than the number of entries suggests: how much less, the rows themselves say.
        """
        sample = np.concatenate(rows)
        place = min(sample.size * (1 - self.count / self.elements), sample.size - 1)
        sample.partition(int(place))
        middle = int(sample[int(place)])
        shares = [np.count_nonzero(row >= middle) / row.size for row in rows]
        error = float(np.std(shares)) / max(1, len(rows) - 1) ** 0.5
        slack = max(_SLACK, _ERRORS * error) * sample.size + 8
        ranks = [int(place - slack), int(place + slack)]
        sample.partition(np.clip(ranks, 0, sample.size - 1))
        self.low = int(sample[ranks[0]]) if ranks[0] > 0 else 0
        self.high = int(sample[ranks[1]]) + 1 if ranks[1] < sample.size else END
        # Where stored weights are coarse, many entries have the same magnitude, and it is probably the one.
        if np.count_nonzero(sample == middle) > 2 * slack:
            self.wider, (self.low, self.high) = (self.low, self.high), (middle, middle + 1)

    def begin(self) -> None:
        """Before a pass."""
        self.above, self.total, self.spans, self.inside = 0, 0, [], []
        self.kept, self.bins = [], None

    def see(self, span: range, magnitudes: Magnitudes) -> None:
        """One block."""
        several = self.high - self.low > 1  # one: where stored weights are coarse
        above, inside, between = magnitudes.between(self.low, self.high, several)
        self.above += above
        self.spans.append(span)
        self._add(inside)
        if between is None:
            return
        if self.bins is not None:
            self._count(between)
            return
        self.kept.append(between)
        if self.total > _KEPT:
            self.bins = np.zeros(_BINS, dtype=np.int64)
            for earlier in self.kept:
                self._count(earlier)
            self.kept = []

    def _add(self, count: int) -> None:
        self.inside.append(count)
        self.total += count

    def _count(self, offsets: Bits) -> None:
        assert self.bins is not None
        self.bins += np.bincount(offsets >> self.shift, minlength=_BINS)

    def narrow(self, tie: Callable[[range, float, int], int]) -> None:
        """After a pass: the cut, or a bracket for the next one. `tie` finds the n-th entry equal to a limit."""
        rank = self.count - self.above  # of the threshold, among those inside, from the largest
        if rank <= 0:
            self.low, self.high = self.high, self.wider[1] if self.wider else END
            self.wider = None
        elif rank > self.total:
            self.low, self.high = self.wider[0] if self.wider else 0, self.low
            self.wider = None
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
        self.found = (limit, last)


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
