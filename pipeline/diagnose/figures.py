"""What is measured of the differences: sums that add up over tensors, and the figures made of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# The part of a difference's entries whose share of the mass is told: what TIES keeps in its paper's recipe.
TOP = 0.2


@dataclass(frozen=True)
class Sums:
    """Sums over the entries of one or more tensors, float64. [n] has an entry per source, [n, n] one per pair."""

    inner: Floats  # [n, n] inner products of the differences
    base: Floats  # [n] squares of the base, in the tensors that the source changes
    opposed: Floats  # [n, n] entries that both change, in opposite directions
    either: Floats  # [n, n] entries that at least one of the two changes
    mass: Floats  # [n] magnitudes of the differences
    top: Floats  # [n] of that, in the TOP of each tensor's entries of largest magnitude
    added: Floats  # [1] magnitudes of the sum of all differences

    def __add__(self, other: Sums) -> Sums:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Sums(*(one + two for one, two in pairs))

    def spread(self, places: Sequence[int], count: int) -> Sums:
        """The same for `count` sources, of which these are those at `places`."""
        pair = np.ix_(places, places)
        found = zeros(count)
        for field in fields(self):
            value, target = getattr(self, field.name), getattr(found, field.name)
            if value.ndim == 2:
                target[pair] = value
            elif field.name == "added":
                target[:] = value
            else:
                target[list(places)] = value
        return found


def zeros(count: int) -> Sums:
    """The sums over nothing, for `count` sources."""
    pair, each = (count, count), (count,)
    return Sums(*(np.zeros(shape) for shape in (pair, each, pair, pair, each, each, (1,))))


@dataclass(frozen=True)
class TensorFigures:
    """One tensor. A value per source: `ranks` where it is a matrix that the source changes, `alike` where it
    is a matrix at all: the cosine of the source's values with the base's. Otherwise None.
    """

    name: str
    shape: tuple[int, ...]
    layer: int | None
    kind: str
    sums: Sums
    ranks: tuple[float | None, ...]
    alike: tuple[float | None, ...]


@dataclass(frozen=True)
class Group:
    """A run of tensors as if they were one long vector: a layer, a kind of module, both, or the model.

    Figures are None where they have no meaning: nothing was changed.
    """

    layer: int | None
    kind: str | None
    tensors: tuple[TensorFigures, ...]
    sums: Sums

    @classmethod
    def of(
        cls,
        tensors: Iterable[TensorFigures],
        count: int,
        *,
        layer: int | None = None,
        kind: str | None = None,
    ) -> Group:
        """The group of `tensors`, each with figures of `count` sources."""
        listed = tuple(tensors)
        return cls(layer, kind, listed, sum((t.sums for t in listed), start=zeros(count)))

    @property
    def sources(self) -> range:
        """The places of the sources."""
        return range(self.sums.mass.size)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The places of the sources of each pair."""
        return list(combinations(self.sources, 2))

    @property
    def matrix(self) -> bool:
        """Whether it has a tensor of more than one dimension."""
        return any(len(tensor.shape) > 1 for tensor in self.tensors)

    def norm(self, source: int) -> float:
        """The length of the difference."""
        return float(np.sqrt(self.sums.inner[source, source]))

    def relative_norm(self, source: int) -> float | None:
        """That length by the length of the base, in the tensors that the source changes."""
        return _ratio(self.norm(source), float(np.sqrt(self.sums.base[source])))

    def top_share(self, source: int) -> float | None:
        """The share of the difference's mass (sum of magnitudes) in the TOP of each tensor's entries."""
        return _ratio(self.sums.top[source], self.sums.mass[source])

    def rank(self, source: int) -> float | None:
        """The mean effective rank of the matrices that the source changes."""
        found = [rank for t in self.tensors if (rank := t.ranks[source]) is not None]
        return statistics.fmean(found) if found else None

    def cosine(self, pair: tuple[int, int]) -> float | None:
        """The cosine of the angle between two differences."""
        one, two = pair
        found = _ratio(self.sums.inner[one, two], self.norm(one) * self.norm(two))
        return None if found is None else min(1.0, max(-1.0, found))  # products are rounded

    def conflict(self, pair: tuple[int, int]) -> float | None:
        """Of the entries that either changes, the part where their signs are opposite.

        Two unrelated differences that change every entry have 0.5.
        """
        return _ratio(self.sums.opposed[pair], self.sums.either[pair])

    @property
    def cancelled(self) -> float | None:
        """The part of all mass that is lost when the differences are added as they are.

        1 - sum(abs(sum of differences)) / sum of all magnitudes. Of n unrelated differences of one size
        that change every entry, 1 - 1 / sqrt(n) is lost.
        """
        kept = _ratio(float(self.sums.added[0]), float(self.sums.mass.sum()))
        return None if kept is None else max(0.0, 1.0 - kept)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The figures as JSON values; `names` are those of the sources."""
        where = {"layer": self.layer, "kind": self.kind}
        return {
            **{key: value for key, value in where.items() if value is not None},
            "tensors": len(self.tensors),
            "cancelled": self.cancelled,
            "sources": {names[source]: self._source(source) for source in self.sources},
            "pairs": [self._pair(pair, names) for pair in self.pairs],
        }

    def _source(self, source: int) -> dict[str, float | None]:
        return {
            "norm": self.norm(source),
            "relative_norm": self.relative_norm(source),
            "top_share": self.top_share(source),
            "effective_rank": self.rank(source),
        }

    def _pair(self, pair: tuple[int, int], names: Sequence[str]) -> dict[str, Any]:
        return {
            "of": [names[source] for source in pair],
            "cosine": self.cosine(pair),
            "sign_conflict": self.conflict(pair),
        }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None
