"""One rule of the policy: what a skill or a safety suite must show, as a whole and by slices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.facts import canonical_json

Kind = Literal["skill", "safety"]
Direction = Literal["higher", "lower"]

BEST_EXPERT = "best-expert"
# Serving the adapters side by side: each skill is answered by its own best expert.
UNMERGED = "unmerged"
CHAMPION = "champion"  # the version that is served now
PLAIN = "plain"  # plain task arithmetic
BASE = "base"


@dataclass(frozen=True)
class SliceRule:
    """What each value of one field of the golden rows must show by itself."""

    field: str
    margin: float
    floor: float
    only: tuple[str, ...] = ()  # the values to judge; () for every value that occurs
    least: int = 1  # samples without which a slice cannot be judged


@dataclass(frozen=True)
class AlsoRule:
    """A further variant that may be better than the candidate by `margin` at most."""

    reference: str
    margin: float


@dataclass(frozen=True)
class Rule:
    """What one skill or safety suite must show; figures are in the metric's units."""

    name: str
    kind: Kind
    metric: str
    low: float  # the metric's range
    high: float
    direction: Direction  # whether a higher or a lower score is the better one
    reference: str  # BEST_EXPERT, UNMERGED, CHAMPION, "base", or the name of a variant
    margin: float  # how much worse than the reference is still good enough
    floor: float  # the mean to reach whatever the reference does; a ceiling where lower is better
    alpha: float  # the chance of a wrong bound, each side by itself
    cluster: str = ""  # the field whose equal values mark samples that depend on each other
    slices: tuple[SliceRule, ...] = ()
    also: tuple[AlsoRule, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the golden rows that must be recorded with every score."""
        named = (self.cluster, *(one.field for one in self.slices))
        return tuple(dict.fromkeys(filter(None, named)))

    @property
    def references(self) -> tuple[str, ...]:
        """Everything it compares with, in the words of the policy."""
        return (self.reference, *(one.reference for one in self.also))

    def meets_floor(self, mean: float) -> bool:
        """Whether a mean is on the good side of the floor, or on it."""
        return mean >= self.floor if self.direction == "higher" else mean <= self.floor

    def of_slice(self, one: SliceRule, value: str = "") -> Rule:
        """The rule for one value of a field, named as its check; all values where it is empty."""
        which = f"{one.field}={value}" if value else one.field
        name = f"{self.name}[{which}]"
        return replace(self, name=name, margin=one.margin, floor=one.floor, slices=(), also=())

    def against(self, one: AlsoRule) -> Rule:
        """The rule for a further reference, named as its check. It asks for no floor again."""
        return replace(
            self,
            name=f"{self.name}[vs {one.reference}]",
            reference=one.reference,
            margin=one.margin,
            floor=self.low if self.direction == "higher" else self.high,
            slices=(),
            also=(),
        )


def attribute_text(value: Any) -> str:
    """A field of a golden row as the text that scores carry and policies name: JSON for numbers.

    Raises ValueError for what is no text, number or boolean.
    """
    if not isinstance(value, str | bool | int | float):
        raise ValueError
    return value if isinstance(value, str) else canonical_json(value)
