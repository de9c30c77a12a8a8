"""Slices: every value of a field of the golden rows judged by itself.

An average over languages, products or lengths can hide that one of them broke. All slices must hold
for the skill to hold, an intersection-union test, so each is tested at the rule's alpha.
"""

from __future__ import annotations

import numpy as np

from gates import wording
from gates.decide import Pair, decide, undecided
from gates.outcome import Reason, Row
from gates.rule import Rule, SliceRule
from gates.samples import Column, coded

# More values than this are names of samples, not of groups; nobody could read their verdict.
MOST = 100


def judge_slices(rule: Rule, blank: Row, ours: Column, pair: Pair) -> list[tuple[Row, Reason]]:
    """Rows and reasons of every slice of a rule, by field and then by value; `blank` is the rule's."""
    found = []
    for one in rule.slices:
        found += _by_value(rule, one, blank, ours, pair)
    return found


def unjudged_slices(rule: Rule, blank: Row) -> list[tuple[Row, Reason]]:
    """The same where the rule as a whole cannot be judged: then no slice can, whoever waives it."""
    return [
        _cannot(rule, one, blank, [f"{rule.name} itself cannot be"], "See there.")
        for one in rule.slices
    ]


def _by_value(
    rule: Rule, one: SliceRule, blank: Row, ours: Column, pair: Pair
) -> list[tuple[Row, Reason]]:
    """One field. What keeps it from being judged at all is told once, under the field's name."""
    way_out = "Record the field with the scores, or mend the policy."
    grouped = coded(ours, one.field)
    if isinstance(grouped, str):
        return [_cannot(rule, one, blank, [grouped], way_out)]
    values, codes = grouped
    unmatched = [value for value in one.only if value not in values]
    if unmatched:
        has = f"the field has {_listed(values)}"
        named = " or ".join(f"{one.field}={value}" for value in unmatched)
        fault = f"no sample has {named}, which it names; {has}"
        return [_cannot(rule, one, blank, [fault], "Mend `only`, or the golden set.")]
    chosen = one.only or values
    if len(chosen) > MOST:
        fault = f"{one.field} has {len(chosen):,} values, and {MOST} is the most"
        return [_cannot(rule, one, blank, [fault], "Name the ones to judge in `only`.")]
    return [
        _slice(rule, one, value, blank, pair.part(np.flatnonzero(codes == values.index(value))))
        for value in chosen
    ]


def _slice(rule: Rule, one: SliceRule, value: str, blank: Row, pair: Pair) -> tuple[Row, Reason]:
    own = rule.of_slice(one, value)
    row = Row.blank(own, blank.artifact, rule=rule.name, part=f"{one.field}={value}")
    n, theirs = len(pair.ours), float(pair.theirs.mean())
    faults, way_out = [], "Add such samples to the golden set, or mend the policy."
    if n < one.least:
        faults.append(f"it has {n:,} samples, and the policy asks for {one.least:,}")
    if not own.meets_floor(theirs):
        faults.append(wording.weak_reference(own, pair.label, theirs))
        way_out = "Give the slice a floor of its own, or choose another reference."
    if rule.cluster and pair.clusters is not None and len(np.unique(pair.clusters)) < 2:
        faults.append(f"all its samples have one {rule.cluster}, which tells nothing of others")
    if faults:
        return undecided(row, wording.cannot_judge(own.name, faults, way_out))
    return decide(own, row, pair)


def _cannot(
    rule: Rule, one: SliceRule, blank: Row, faults: list[str], way_out: str
) -> tuple[Row, Reason]:
    own = rule.of_slice(one)
    row = Row.blank(own, blank.artifact, rule=rule.name, part=one.field)
    return undecided(row, wording.cannot_judge(own.name, faults, way_out))


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(values[:5]) + (", …" if len(values) > 5 else "")
