"""One rule of the policy against the evidence: its row of figures, and its reason in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gates import wording
from gates.evidence import Evidence, columns, reference
from gates.outcome import Outcome, Reason, Row
from gates.policy import Rule
from gates.samples import paired
from gates.statistics import (
    Comparison,
    Scores,
    mean_bounds,
    needed_samples,
    paired_binary,
    paired_bounded,
    wilson_bounds,
)

# Figures are stored rounded: their last bits depend on the processor, a verdict's bytes may not.
DIGITS = 10


def judge_rule(rule: Rule, evidence: Evidence) -> tuple[Row, Reason]:
    """The row of figures and the reason of one rule."""
    row = Row(
        artifact=evidence.artifact,
        check=rule.name,
        kind=rule.kind,
        metric=rule.metric,
        reference="",
        outcome="cannot judge",
        margin=rule.margin,
        floor=rule.floor,
        alpha=rule.alpha,
    )
    held, faults = columns(rule, evidence)
    chosen, more = reference(rule, evidence, held)
    faults += more
    if faults or chosen is None:
        way_out = "Evaluate all variants on the same golden set, or mend the policy."
        return row, _reason(row, wording.cannot_judge(rule.name, faults, way_out))
    pairs = paired(held[evidence.artifact], chosen)
    row = replace(row, reference=chosen.variant)
    if isinstance(pairs, list):
        way_out = f"Evaluate the candidate and {chosen.label} on the same golden set."
        return row, _reason(row, wording.cannot_judge(rule.name, pairs, way_out))
    return _decide(rule, row, chosen.label, *pairs)


def _decide(rule: Rule, row: Row, label: str, ours: Scores, theirs: Scores) -> tuple[Row, Reason]:
    """Margin and floor; the worse of the two is the outcome, and its words the reason."""
    c = _compare(rule, ours, theirs)
    floor, floor_needs = _floor(rule, ours)
    outcome, text, needed = _words(rule, label, c, floor, floor_needs)
    row = replace(
        row,
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
    )
    return row, _reason(row, text)


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


def _compare(rule: Rule, ours: Scores, theirs: Scores) -> Comparison:
    """Compare so that more is better; the means stay the candidate's and the reference's."""
    a, b = (ours, theirs) if rule.direction == "higher" else (theirs, ours)
    if _is_binary(rule, a) and _is_binary(rule, b):
        c = paired_binary(a, b, rule.margin, rule.alpha)
    else:
        c = paired_bounded(a, b, rule.margin, rule.alpha, low=rule.low, high=rule.high)
    return replace(c, candidate_mean=float(ours.mean()), reference_mean=float(theirs.mean()))


def _floor(rule: Rule, values: Scores) -> tuple[Outcome, int | None]:
    """Whether the candidate meets the floor, and the samples that would decide where that is open.

    The mean itself must meet it; one that does not is a rejection only where chance does not
    explain it.
    """
    mean, higher = float(values.mean()), rule.direction == "higher"
    if rule.meets_floor(mean):
        return "promote", None
    if _is_binary(rule, values):
        lower, upper = wilson_bounds(len(values), float(values.sum()), rule.alpha)
        variance, span = rule.floor * (1 - rule.floor), None
    else:
        lower, upper = mean_bounds(values, rule.low, rule.high, rule.alpha)
        variance, span = float(values.var()), abs((rule.high if higher else rule.low) - rule.floor)
    if not rule.meets_floor(upper if higher else lower):
        return "reject", None
    missed = -abs(mean - rule.floor)
    return "inconclusive", needed_samples(missed, 0.0, variance, rule.alpha, span=span)


def _is_binary(rule: Rule, values: Scores) -> bool:
    """Whether Tango's interval applies: scores of zero and one, over just that range."""
    return (rule.low, rule.high) == (0.0, 1.0) and bool(np.isin(values, (0.0, 1.0)).all())


def _reason(row: Row, text: str) -> Reason:
    return Reason(row.artifact, row.check, row.outcome, text)
