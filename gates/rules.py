"""One rule of the policy against the evidence: its rows of figures, and its reasons in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gates import wording
from gates.decide import Pair, decide, undecided
from gates.evidence import Evidence, columns, reference
from gates.outcome import Reason, Row
from gates.rule import CHAMPION, PLAIN, AlsoRule, Rule
from gates.samples import Codes, Column, coded
from gates.slices import judge_slices, unjudged_slices

# Variants that the candidate may be: released again, or made by plain task arithmetic.
MAY_BE_ITSELF = (CHAMPION, PLAIN)


@dataclass(frozen=True)
class Judged:
    """What was found under one rule, and the scores, for what is said of the release as a whole."""

    rule: Rule
    rows: tuple[Row, ...]  # of the rule itself, then slices, then further references
    reasons: tuple[Reason, ...]
    held: Mapping[str, Column]  # by variant, in the candidate's order; {} where not fit
    pair: Pair | None = None  # candidate and reference; None where they cannot be compared

    def against(self, variant: str) -> Pair | None:
        """The candidate and another variant; None where they cannot be compared."""
        if self.pair is None or variant not in self.held:
            return None
        other = self.held[variant]
        return Pair(other.label, variant, self.pair.ours, other.values, self.pair.clusters)


def judge_rule(rule: Rule, evidence: Evidence) -> Judged:
    """The rule as a whole, every slice of it, and every further reference."""
    blank = Row.blank(rule, evidence.artifact)
    held, faults = columns(rule, evidence)
    chosen, more = reference(rule, evidence, held)
    clusters, unclustered = _clusters(rule, held.get(evidence.artifact))
    faults = [*faults, *more, *unclustered]
    if faults or chosen is None:
        way_out = "Evaluate all variants on the same golden set, or mend the policy."
        found = [undecided(blank, wording.cannot_judge(rule.name, faults, way_out))]
        found += unjudged_slices(rule, blank)
        found += [_unjudged(rule.against(one), blank, rule.name) for one in rule.also]
        return Judged(rule, *_apart(found), {})
    ours = held[evidence.artifact]
    pair = Pair.of(ours, chosen, clusters)
    own = [decide(rule, blank, pair), *judge_slices(rule, blank, ours, pair)]
    also = [_also(rule, one, evidence, held, clusters) for one in rule.also]
    return Judged(rule, *_apart([*own, *also]), held, pair)


def _clusters(rule: Rule, ours: Column | None) -> tuple[Codes | None, list[str]]:
    """The number of each sample's cluster, where the rule has any; and why there are none."""
    if not rule.cluster or ours is None:
        return None, []
    grouped = coded(ours, rule.cluster)
    if isinstance(grouped, str):
        return None, [f"its samples cannot be clustered: {grouped}"]
    values, codes = grouped
    if len(values) < 2:
        return None, [f"all samples have one {rule.cluster}, which tells nothing of others"]
    return codes, []


def _also(
    rule: Rule,
    one: AlsoRule,
    evidence: Evidence,
    held: Mapping[str, Column],
    clusters: Codes | None,
) -> tuple[Row | None, Reason]:
    """One further reference, which need not reach the floor: it is there to be no better."""
    own, name = rule.against(one), one.reference
    if name == CHAMPION and name in evidence.absent and name not in evidence.evaluations:
        text = wording.passed_over(own, f"there is no champion yet ({evidence.absent[name]})")
        return None, Reason(evidence.artifact, own.name, "promote", text)
    if name in MAY_BE_ITSELF and name in held and evidence.is_candidate(name):
        text = wording.passed_over(own, f"the candidate and {name} are one model")
        return None, Reason(evidence.artifact, own.name, "promote", text)
    row = Row.blank(own, evidence.artifact, rule=rule.name)
    chosen, faults = reference(own, evidence, held, weak=True)
    if faults or chosen is None:
        way_out = "Evaluate it on the same golden set, or mend the policy."
        return undecided(row, wording.cannot_judge(own.name, faults, way_out))
    return decide(own, row, Pair.of(held[evidence.artifact], chosen, clusters))


def _unjudged(own: Rule, blank: Row, name: str) -> tuple[Row, Reason]:
    row = Row.blank(own, blank.artifact, rule=name)
    faults = [f"{name} itself cannot be"]
    return undecided(row, wording.cannot_judge(own.name, faults, "See there."))


def _apart(
    found: Sequence[tuple[Row | None, Reason]],
) -> tuple[tuple[Row, ...], tuple[Reason, ...]]:
    rows = tuple(row for row, _ in found if row is not None)
    return rows, tuple(reason for _, reason in found)
