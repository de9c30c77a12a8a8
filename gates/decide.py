"""Margin and floor on one pair of columns: the figures, the outcome, and the reason in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gates import wording
from gates.outcome import Outcome, Reason, Row
from gates.rule import Rule
from gates.samples import Codes, Column
from gates.statistics import (
    Comparison,
    Scores,
    compare,
    improvement_p,
    mean_bounds,
    needed_samples,
    wilson_bounds,
)

# Figures are stored rounded: their last bits depend on the processor, a verdict's bytes may not.
DIGITS = 10


@dataclass(frozen=True)
class Pair:
    """The candidate's scores and those of one other variant, in one order, shape (n,) each."""

    label: str  # what a person calls the other
    variant: str
    ours: Scores
    theirs: Scores
    clusters: Codes | None = None  # the number of each sample's group; None where independent

    @classmethod
    def of(cls, candidate: Column, other: Column, clusters: Codes | None = None) -> Pair:
        """The pair of two columns that are in one order."""
        return cls(other.label, other.variant, candidate.values, other.values, clusters)

    def part(self, chosen: Codes) -> Pair:
        """The samples whose places are in `chosen`."""
        clusters = None if self.clusters is None else self.clusters[chosen]
        ours, theirs = self.ours[chosen], self.theirs[chosen]
        return replace(self, ours=ours, theirs=theirs, clusters=clusters)


def decide(rule: Rule, row: Row, pair: Pair) -> tuple[Row, Reason]:
    """Margin and floor; the worse of the two is the outcome, and its words the reason."""
    c = compared(rule, pair, rule.margin)
    floor, floor_needs = _floor(rule, pair)
    outcome, text, needed = _words(rule, pair.label, c, floor, floor_needs)
    row = replace(
        row,
        reference=pair.variant,
        outcome=outcome,
        n=c.n,
        candidate_mean=round(c.candidate_mean, DIGITS),
        reference_mean=round(c.reference_mean, DIGITS),
        difference=round(c.difference, DIGITS),
        lower=round(c.lower, DIGITS),
        upper=round(c.upper, DIGITS),
        discordant=c.discordant,
        needed_n=needed,
        method=c.method,
        clusters=c.clusters,
    )
    return row, Reason(row.artifact, row.check, outcome, text)


def undecided(row: Row, text: str) -> tuple[Row, Reason]:
    """A row without figures, and the reason why it cannot be judged."""
    return row, Reason(row.artifact, row.check, "cannot judge", text)


def compared(rule: Rule, pair: Pair, margin: float) -> Comparison:
    """Compare so that more is better; the means stay the candidate's and the reference's."""
    ours, theirs = oriented(rule, pair)
    c = compare(
        ours,
        theirs,
        low=rule.low,
        high=rule.high,
        margin=margin,
        alpha=rule.alpha,
        clusters=pair.clusters,
    )
    means = float(pair.ours.mean()), float(pair.theirs.mean())
    return replace(c, candidate_mean=means[0], reference_mean=means[1])


def chance_of_no_gain(rule: Rule, pair: Pair) -> float:
    """The one-sided p-value of «the candidate is no better», 1 where it did not even score better."""
    ours, theirs = oriented(rule, pair)
    if ours.mean() <= theirs.mean():
        return 1.0
    return improvement_p(ours, theirs, low=rule.low, high=rule.high, clusters=pair.clusters)


def oriented(rule: Rule, pair: Pair) -> tuple[Scores, Scores]:
    """Both columns so that more is better: turned round within the range where less is."""
    if rule.direction == "higher":
        return pair.ours, pair.theirs
    return rule.low + rule.high - pair.ours, rule.low + rule.high - pair.theirs


def _words(
    rule: Rule, label: str, c: Comparison, floor: Outcome, floor_needs: int | None
) -> tuple[Outcome, str, int | None]:
    """Outcome, reason, and the samples that would decide where it is inconclusive."""
    if c.upper < -rule.margin:
        return "reject", wording.measured(rule, label, c), None
    if floor == "reject":
        return "reject", wording.under_floor(rule, label, c, None, shown=True), None
    if c.lower <= -rule.margin:
        needed = c.needed_n and max(c.needed_n, floor_needs or 0)
        return "inconclusive", wording.too_few(rule, label, replace(c, needed_n=needed)), needed
    if floor == "inconclusive":
        text = wording.under_floor(rule, label, c, floor_needs, shown=False)
        return "inconclusive", text, floor_needs
    return "promote", wording.promoted(rule, label, c), None


def _floor(rule: Rule, pair: Pair) -> tuple[Outcome, int | None]:
    """Whether the candidate meets the floor, and the samples that would decide where that is open.

    The mean itself must meet it; one that does not is a rejection only where chance does not
    explain it.
    """
    values, higher = pair.ours, rule.direction == "higher"
    mean = float(values.mean())
    if rule.meets_floor(mean):
        return "promote", None
    missed = -abs(mean - rule.floor)
    if pair.clusters is not None:
        level = replace(pair, theirs=np.full_like(values, rule.floor))
        c = compared(rule, level, 0.0)
        return ("reject", None) if c.upper < 0 else ("inconclusive", c.needed_n)
    if _is_binary(rule, values):
        lower, upper = wilson_bounds(len(values), float(values.sum()), rule.alpha)
        variance, span = rule.floor * (1 - rule.floor), None
    else:
        lower, upper = mean_bounds(values, rule.low, rule.high, rule.alpha)
        variance, span = float(values.var()), abs((rule.high if higher else rule.low) - rule.floor)
    if not rule.meets_floor(upper if higher else lower):
        return "reject", None
    return "inconclusive", needed_samples(missed, 0.0, variance, rule.alpha, span=span)


def _is_binary(rule: Rule, values: Scores) -> bool:
    """Whether Wilson's interval applies: scores of zero and one, over just that range."""
    return (rule.low, rule.high) == (0.0, 1.0) and bool(np.isin(values, (0.0, 1.0)).all())
