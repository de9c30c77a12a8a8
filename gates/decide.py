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
    proportion_bounds,
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
    floor = _veto_floor(rule, pair) if rule.kind == "safety" else _floor(rule, pair)
    outcome, text, needed = _words(rule, pair.label, c, floor)
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
        bound=None if floor.bound is None else round(floor.bound, DIGITS),
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


@dataclass(frozen=True)
class _Floor:
    """How the candidate stands to the floor; `needed`: the samples that would decide where that is open."""

    outcome: Outcome
    needed: int | None = None
    bound: float | None = (
        None  # of the true mean, on its bad side; where that is what must meet the floor
    )


def _words(rule: Rule, label: str, c: Comparison, floor: _Floor) -> tuple[Outcome, str, int | None]:
    """Outcome, reason, and the samples that would decide where it is inconclusive."""
    if c.upper < -rule.margin:
        return "reject", wording.measured(rule, label, c), None
    if floor.outcome == "reject":
        return "reject", wording.under_floor(rule, label, c, None, shown=True), None
    if c.lower <= -rule.margin:
        needed = c.needed_n and max(c.needed_n, floor.needed or 0)
        return "inconclusive", wording.too_few(rule, label, replace(c, needed_n=needed)), needed
    if floor.outcome == "inconclusive":
        text = (
            wording.under_floor(rule, label, c, floor.needed, shown=False)
            if not rule.meets_floor(c.candidate_mean) or floor.bound is None
            else wording.floor_not_shown(rule, label, c, floor.bound, floor.needed)
        )
        return "inconclusive", text, floor.needed
    return "promote", wording.promoted(rule, label, c, floor.bound), None


def _floor(rule: Rule, pair: Pair) -> _Floor:
    """A skill's floor: the mean itself must meet it; one that does not is a rejection only beyond chance."""
    values, higher = pair.ours, rule.direction == "higher"
    mean = float(values.mean())
    if rule.meets_floor(mean):
        return _Floor("promote")
    missed = -abs(mean - rule.floor)
    if pair.clusters is not None:
        c = _against_floor(rule, pair)
        return _Floor("reject") if c.upper < 0 else _Floor("inconclusive", c.needed_n)
    if _is_binary(rule, values):
        lower, upper = wilson_bounds(len(values), float(values.sum()), rule.alpha)
        variance, span = rule.floor * (1 - rule.floor), None
    else:
        lower, upper = mean_bounds(values, rule.low, rule.high, rule.alpha)
        variance, span = float(values.var()), abs((rule.high if higher else rule.low) - rule.floor)
    if not rule.meets_floor(upper if higher else lower):
        return _Floor("reject")
    needed = needed_samples(missed, 0.0, variance, rule.alpha, span=span)
    return _Floor("inconclusive", needed)


def _veto_floor(rule: Rule, pair: Pair) -> _Floor:
    """A safety suite's floor: the bound must meet it, so that what was not seen is not taken for absent."""
    values, higher = pair.ours, rule.direction == "higher"
    if pair.clusters is not None:
        c = _against_floor(rule, pair)
        bound = rule.floor + c.lower if higher else rule.floor - c.lower
        needed = c.needed_n
    else:
        if _is_binary(rule, values):
            bounds = proportion_bounds(len(values), int(values.sum()), rule.alpha)
        else:
            bounds = mean_bounds(values, rule.low, rule.high, rule.alpha)
        bound = bounds[0] if higher else bounds[1]
        span = abs((rule.low if higher else rule.high) - rule.floor)
        distance, variance = abs(float(values.mean()) - rule.floor), float(values.var())
        needed = needed_samples(distance, 0.0, variance, rule.alpha, span=span)
    if rule.meets_floor(bound):
        return _Floor("promote", bound=bound)
    missed = _floor(rule, pair)
    if missed.outcome == "promote":
        return _Floor("inconclusive", needed, bound)
    return replace(missed, bound=bound)


def _against_floor(rule: Rule, pair: Pair) -> Comparison:
    """The candidate against one that scores just the floor on every sample."""
    return compared(rule, replace(pair, theirs=np.full_like(pair.ours, rule.floor)), 0.0)


def _is_binary(rule: Rule, values: Scores) -> bool:
    """Whether Wilson's interval applies: scores of zero and one, over just that range."""
    return (rule.low, rule.high) == (0.0, 1.0) and bool(np.isin(values, (0.0, 1.0)).all())
