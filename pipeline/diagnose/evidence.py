"""What a suggestion looks at: the figures of the whole model, and how they are put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.compat.lineage import MIN_COSINE
from pipeline.diagnose.figures import Group


@dataclass(frozen=True)
class Evidence:
    """The figures of the whole model. `alike`: for each source, the median cosine of its matrices with the base's.

    `base_known` says that the models were made from the base, as far as the recipe tells.
    """

    whole: Group
    names: Sequence[str]
    alike: Sequence[float | None]
    base: str
    base_known: bool

    @cached_property
    def changed(self) -> list[int]:
        """The sources that differ from the base."""
        return [source for source in self.whole.sources if self.whole.norm(source) > 0]

    @cached_property
    def strays(self) -> list[int]:
        """The sources that seem not to descend from the base: the limit is that of the check `lineage`."""
        return [i for i, known in enumerate(self.alike) if known is not None and known < MIN_COSINE]

    @cached_property
    def cosines(self) -> dict[tuple[int, int], float]:
        """Those of the pairs of `changed`."""
        found = {pair: self.whole.cosine(pair) for pair in self.whole.pairs}
        return {pair: cosine for pair, cosine in found.items() if cosine is not None}

    @property
    def lowest(self) -> float:
        """The lowest cosine of a pair."""
        return min(self.cosines.values())

    @property
    def steepest(self) -> float:
        """The cosine that is farthest from 0."""
        return max(self.cosines.values(), key=abs)

    @property
    def conflict(self) -> float:
        """The highest sign-conflict rate of a pair."""
        return max(self.whole.conflict(pair) or 0.0 for pair in self.cosines)

    @property
    def cancelled(self) -> float:
        """The part of the mass that is lost in adding."""
        return self.whole.cancelled or 0.0

    @property
    def top(self) -> float:
        """The share of the mass in the largest entries, over all differences."""
        return float(self.whole.sums.top.sum() / self.whole.sums.mass.sum())

    @property
    def distance(self) -> float:
        """The greatest relative norm of a difference."""
        return max(self.whole.relative_norm(source) or 0.0 for source in self.changed)

    @property
    def angles(self) -> str:
        """The cosines in words."""
        cosines = sorted(self.cosines.values())
        if len(cosines) == 1:
            return f"the two differences have cosine {signed(cosines[0])}"
        ends = f"{signed(cosines[0])} and {signed(cosines[-1])}"
        return f"the cosines of the {len(cosines)} pairs lie between {ends}"

    @property
    def conflicts(self) -> str:
        """What is in each other's way, in words."""
        upto = "" if len(self.cosines) == 1 else "up to "
        return (
            f"{upto}{percent(self.conflict)} of the entries that a pair changes have opposite "
            f"signs, and {percent(self.cancelled)} of the mass cancels when all are added"
        )

    def listed(self, sources: Sequence[int]) -> str:
        """The names of these sources."""
        return " and ".join(self.names[source] for source in sources)


def percent(share: float) -> str:
    """A share as «40 %»."""
    return f"{100 * share:.0f} %"


def signed(value: float) -> str:
    """Three decimals with a true minus sign, and none before a zero."""
    text = f"{value:.3f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
